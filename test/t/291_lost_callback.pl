# A hand has deleted the row of the queue of a run whose on_complete is to be called. It is put back,
# and looked at each minute as others are, to end it should nobody be there to call that.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'agno_bg.max_tool_workers = 0');
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q(CREATE FUNCTION note(r agno.runs) RETURNS void LANGUAGE sql AS ''));
enqueue('run', 'echo', role => 'app', on_complete => 'public.note(agno.runs)');
wait_until('it to wait for that', sub { value(q(state = 'b' FROM agno.run_queue WHERE run_id = 'run')) eq 't' });
$node->safe_psql('postgres', 'DELETE FROM agno.run_queue');
replace_runner();
wait_until('it to be put back', sub { value(q(count(*) FROM agno.run_queue WHERE run_id = 'run')) == 1 });
is(value(q(concat_ws(' ', state, run_at <= clock_timestamp() + '1 min'::interval) FROM agno.run_queue)), 'b t', 'it is looked at in a minute');
configure(max_tool_workers => 4);
expect_run('run', { status => 'COMPLETED' });
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

$node->stop;
done_testing();
