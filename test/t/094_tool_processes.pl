# What befalls the process that calls a tool: a tool of a cancelled run that does not
# end is ended with its process; settings of a role or a database that would end the
# process at each error do no harm; the longest time that can be set is no short one.

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
make_user('app', 'odd');
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
  foreach qw(app odd);

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

# Settings
foreach my $setting ('exit_on_error = on', "idle_session_timeout = '1ms'", "idle_in_transaction_session_timeout = '1ms'",
	"client_connection_check_interval = '1ms'", 'default_transaction_read_only = on', 'default_transaction_isolation = serializable',
	'default_transaction_deferrable = on', "lock_timeout = '1ms'", 'row_security = off', 'quote_all_identifiers = on',
	'transform_null_equals = on', 'standard_conforming_strings = off', "intervalstyle = 'sql_standard'", "datestyle = 'german'",
	"search_path = ''", 'jit_above_cost = 0', "client_encoding = 'latin1'", "lc_messages = 'C'", 'join_collapse_limit = 1',
	'enable_indexonlyscan = off', 'enable_sort = off', "restrict_nonsystem_relation_kind = 'view,foreign-table'", "transaction_timeout = '1ms'",
	'event_triggers = off', "force_parallel_mode = on", "debug_parallel_query = on", 'session_replication_role = replica')
{
	# Not every version has all of them.
	$node->psql('postgres', "ALTER ROLE odd SET $setting", on_error_stop => 0);
}
$node->safe_psql('postgres', 'ALTER DATABASE postgres SET exit_on_error = on');
$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type IN ('agno_bg runner', 'agno_bg tool worker')));
call_tools('odd', 'odd', [ [ ['fails'] ], [ [ nap => { seconds => 0 } ] ] ], set_role => 'odd');
expect_run('odd', { status => 'COMPLETED', attempt => 1, content => qr/slept/ }, 'settings of a role and of its database do not end its process');
is(value(q(string_agg(status || coalesce(' ' || sqlstate, ''), ', ' ORDER BY turn) FROM agno.tool_calls WHERE run_id = 'odd')), 'error P0001, completed',
	'an error of a tool is an error of the tool');
$node->safe_psql('postgres', q(ALTER DATABASE postgres RESET ALL));

is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');

done_testing();
