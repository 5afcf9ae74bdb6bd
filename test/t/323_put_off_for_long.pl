# What was put off so often that the count is at its end is put off once more, and the
# tool worker does not fail.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('alice');
$node->safe_psql('postgres', q(CREATE FUNCTION tell(run_id text) RETURNS void LANGUAGE sql AS ''));
refuse_updates(q(NEW.run_id = 'refused' AND NEW.status = 'COMPLETED'), 'not yet');
as('alice', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'refused', on_complete => 'public.tell')));
wait_until('it to be tried', sub { value('coalesce(max(tries), 0) FROM agno.callbacks') > 0 });
$node->poll_query_until('postgres', 'WITH u AS (UPDATE agno.callbacks SET tries = 32767 RETURNING 1) SELECT count(*) = 1 FROM u');
my $pause = sub { value('max(queued_at) FROM agno.callbacks') };
my $first = $pause->();
wait_until('it to be put off once more', sub { $pause->() ne $first });
is(value('max(tries) FROM agno.callbacks'), 32767, 'the count is at its end');
$node->safe_psql('postgres', 'DROP TRIGGER refuse ON agno.runs');
wait_until('its end', sub { value(q(status FROM agno.runs WHERE run_id = 'refused')) eq 'COMPLETED' });
ok(!$node->log_contains('smallint out of range'), 'no worker has failed');

$node->stop;
done_testing();
