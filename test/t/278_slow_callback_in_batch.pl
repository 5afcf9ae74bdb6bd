# Functions of runs that have ended are called many at a time, and one of them takes longer
# than a batch may: then they are called one by one, at once. Nobody is put off for that, as
# for somebody else's lock.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_node('main', conf => 'agno_bg.max_tool_workers = 1');
my $mock = start_mock('mock');
add_mock_server($mock);
make_user('app');
$node->safe_psql('postgres', q(
	CREATE SCHEMA app AUTHORIZATION app;
	SET ROLE app;
	CREATE FUNCTION app.called_back(run agno.runs) RETURNS void LANGUAGE sql
		AS $$ SELECT pg_sleep(0.4) WHERE (run).run_id = 'run-20' $$));
my $holder = $node->background_psql('postgres');

# They are all there before the first is called.
$holder->query_safe('BEGIN; LOCK TABLE agno.callbacks IN SHARE MODE');
as('app', q(SELECT count(agno_arun('x', run_id => 'run-' || i, model => 'mock:echo', on_complete => 'app.called_back')) FROM generate_series(1, 40) i));
wait_until('all to be answered', sub { my %done = map { $_->{number} => 1 } grep { $_->{event} eq 'answered' } mock_log('mock'); keys %done == 40 });
$holder->query_safe('COMMIT');
my $put_off = 0;

wait_until('all to be called', sub {
	$put_off += value('count(*) FROM agno.callbacks WHERE looks > 0');
	return value(q(count(*) = 40 FROM agno.runs WHERE status = 'COMPLETED')) eq 't';
});
is($put_off, 0, 'none of them is put off');

$holder->quit;
$node->stop;
done_testing();
