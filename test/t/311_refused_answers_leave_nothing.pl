# Answers to a call that are refused leave nothing in the session that gave them: what was read of the
# schema of the arguments that are asked for is gone with the error.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('app');
my $arguments = join(', ', map { "argument_$_ text DEFAULT 'x'" } 1 .. 90);
$node->safe_psql('postgres', qq(
	CREATE FUNCTION pay($arguments) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
	INSERT INTO agno.tools (tool, function, requires_user_input)
	SELECT 'pay', p.oid::regprocedure::text, proargnames[1:89] FROM pg_proc p WHERE proname = 'pay';
	INSERT INTO agno.agents (agent_id, name, model, tools) VALUES ('ask', 'ask', 'mock:tools', '{pay}');
	CREATE FUNCTION refused(run text, call text, times int) RETURNS int LANGUAGE plpgsql AS \$\$
	DECLARE many int := 0;
	BEGIN
		FOR i IN 1 .. times LOOP
			BEGIN
				PERFORM agno_answer_call(run, call, '{"nonsense": 1}');
			EXCEPTION WHEN invalid_parameter_value THEN many := many + 1;
			END;
		END LOOP;
		RETURN many;
	END \$\$;
	CREATE FUNCTION resident() RETURNS int LANGUAGE sql AS
	\$\$ SELECT (regexp_match(pg_read_file('/proc/' || pg_backend_pid() || '/status'), 'RssAnon:\\s+(\\d+)'))[1]::int \$\$));

call_tools('asked', 'ask', [ [ ['pay'] ] ]);
is(wait_run('asked'), 'PAUSED', 'the run waits for arguments');
my $call = value(q(tool_call_id FROM agno.approvals WHERE run_id = 'asked'));
my @said = split /\n/, $node->safe_psql('postgres', qq(
	SELECT refused('asked', '$call', 200);
	SELECT resident();
	SELECT refused('asked', '$call', 3000);
	SELECT resident()));
is("$said[0] $said[2]", '200 3000', 'all answers are refused');
cmp_ok($said[3] - $said[1], '<', 15000, "and leave nothing: $said[1] kB, then $said[3] kB");

$node->stop('immediate');
done_testing();
