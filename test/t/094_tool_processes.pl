# What befalls the process that calls a tool: a tool of a cancelled run that does not
# end is ended with its process; the longest time that can be set is no short one.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "agno_bg.tool_timeout = 2147483647\nagno_bg.run_timeout = 2147483647\nagno_bg.max_tool_workers = 1\n");
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q{
	CREATE TABLE done (run_id text);
	GRANT ALL ON done TO PUBLIC;
	CREATE FUNCTION nap(seconds float8) RETURNS text LANGUAGE sql AS $$
		SELECT 'slept' || coalesce(pg_sleep(seconds)::text, '') $$;
	CREATE FUNCTION deaf() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO done VALUES ('deaf');
		LOOP BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;
	CREATE FUNCTION fails() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$});
as($_, qq(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('$_', 'mock:tools', '{public.nap,public.deaf,public.fails}')))
  foreach qw(app);

# The longest time that can be set
call_tools('longest', 'app', [ [ [ nap => { seconds => 1 } ] ] ], role => 'app');

# A cancelled run whose tool goes on, with one worker for all
call_tools('deaf', 'app', [ [ ['deaf'] ] ], role => 'app');
call_tools('next', 'app', [ [ [ nap => { seconds => 0 } ] ] ], role => 'app', max_attempts => 1);
expect_run('longest', { status => 'COMPLETED', content => 'Results: slept', attempt => 1 }, 'the longest time that can be set for tools is not none');
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%tool deaf'));
my $start = time;
is(value(q(agno_cancel_run('deaf'))), 't', 'a run is cancelled whose tool does not listen');
expect_run('deaf', { status => 'CANCELLED' }, 'it ends');
expect_run('next', { status => 'COMPLETED', attempt => 1 }, 'its worker is there for others again, without an attempt of theirs');
cmp_ok(time - $start, '<', 10, 'after a few seconds');
is(value(q(count(*) FROM done)), 0, 'what the tool did is undone');

is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

done_testing();
