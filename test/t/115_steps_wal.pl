# What a run with tools writes is in proportion to what is said: a step of a run of a
# hundred steps costs no more WAL than one of a run of ten, and asks the model once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "full_page_writes = off\nautovacuum = off\nagno_bg.tool_call_limit = 1000");
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q{
	CREATE FUNCTION app.look(i integer) RETURNS integer STABLE LANGUAGE sql AS 'SELECT i + 1';
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('a', 'mock:tools', '{app.look}');});

# The WAL of a run of so many steps, but for its first and last requests, in bytes a step.
sub bytes_per_step
{
	my ($steps) = @_;
	my $before = value('pg_current_wal_insert_lsn()');

	call_tools("run $steps", 'a', [ map { [ [ look => { i => $_ } ] ] } 1 .. $steps ], role => 'app');
	expect_run("run $steps", { status => 'COMPLETED', content => 'Results: ' . ($steps + 1) }, "a run of $steps steps");
	is(scalar(grep { ($_->{body}{input}[0]{content} // '') =~ /"id":"run $steps"/ } mock_requests('mock')), $steps + 1, 'asks once for each, and for the end');
	return value("round((pg_current_wal_insert_lsn() - '$before') / $steps)");
}

bytes_per_step(3);
my $few = bytes_per_step(10);
my $many = bytes_per_step(100);
note("bytes of WAL for a step: $few of 10, $many of 100");
cmp_ok($many, '<', 2 * $few, 'steps of a long run cost what those of a short one do');
done_testing();
