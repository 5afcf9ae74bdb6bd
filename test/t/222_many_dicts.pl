# Whoever continues a run sends as many dicts and fields as he likes, and the same ones
# again: they take memory in proportion to what they and the run have to say, not to the
# product. Alone: it measures memory.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my ($node, $calls) = (new_node('main'), 300);
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q{
	CREATE FUNCTION app.long(big text, a text) RETURNS text LANGUAGE sql AS $$ SELECT 'long' $$;
	CREATE FUNCTION app.careful(what text) RETURNS text LANGUAGE sql AS $$ SELECT 'done' $$;
	DO $x$ BEGIN
		EXECUTE (SELECT 'CREATE FUNCTION app.asks(' || string_agg('a' || i || ' text', ', ') || ') RETURNS text LANGUAGE sql AS $$ SELECT ''asked'' $$'
			FROM generate_series(1, 99) i);
	END $x$;
	INSERT INTO agno.tools (tool, function, requires_confirmation) VALUES ('careful', 'app.careful', true);
	INSERT INTO agno.tools (tool, function, requires_user_input) SELECT 'asks', 'app.asks', array_agg('a' || i) FROM generate_series(1, 99) i;
	INSERT INTO agno.tools (tool, function, requires_user_input) VALUES ('long', 'app.long', '{a}');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('long', 'mock:tools', '{long}'), ('careful', 'mock:tools', '{careful}'), ('asks', 'mock:tools', '{asks}')});
call_tools('calls', 'careful', [ [ map { [ careful => { what => $_ . 'x' x 300 } ] } 1 .. $calls ] ], role => 'app');
call_tools('fields', 'asks', [ [ [ asks => {} ] ] ], role => 'app');
call_tools('long', 'long', [ [ [ long => { big => 'x' x 300_000 } ] ] ], role => 'app');
is(wait_run($_), 'PAUSED', "a run with many or long $_ waits") foreach qw(calls fields long);

# What a statement of a session adds to its memory, in kB; and how it ends.
sub costs
{
	my ($sql, $ends, $name) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'app' ]);
	my $pid = $session->query('SELECT pg_backend_pid()');
	$session->query(q(SELECT sum(length(requirements::text)) FROM agno.runs));
	my $before = status_of($pid, 'VmHWM');
	my ($said) = $session->query("\\set VERBOSITY sqlstate\n$sql\n\\echo :SQLSTATE") =~ /(\w+)\s*$/;
	my $growth = status_of($pid, 'VmHWM') - $before;
	note("$name: $growth kB");
	is($said, $ends, $name);
	cmp_ok($growth, '<', 60_000, "$name: takes no memory to speak of");
	$session->quit;
}
costs(q(SELECT agno_continue_run('calls', (SELECT jsonb_agg(jsonb_build_object('id', requirements -> -1 ->> 'id')) FROM agno.runs, generate_series(1, 1000)
	WHERE run_id = 'calls'));), '55000', 'the same dict again and again, which decides nothing');
costs(q(SELECT agno_continue_run('fields', (SELECT jsonb_build_array(jsonb_build_object('id', requirements -> 0 ->> 'id', 'user_input_schema',
	(SELECT jsonb_agg('{"name": "a99"}'::jsonb) FROM generate_series(1, 5000)))) FROM agno.runs WHERE run_id = 'fields'));), '55000', 'the same field again and again');
costs(q(SELECT agno_continue_run('long', (SELECT jsonb_build_array(jsonb_build_object('id', requirements -> 0 ->> 'id', 'user_input_schema',
	(SELECT jsonb_agg('{"name": "big"}'::jsonb) FROM generate_series(1, 2000)))) FROM agno.runs WHERE run_id = 'long'));), '55000', 'a long field again and again');
costs(q(SELECT agno_continue_run('calls', (SELECT jsonb_agg(d || '{"confirmation": true}') FROM agno.runs, jsonb_array_elements(requirements) d
	WHERE run_id = 'calls'));), '00000', 'all that a run asks for, sent back');
costs(q(SELECT agno_continue_run('fields', (SELECT jsonb_build_array(jsonb_build_object('id', requirements -> 0 ->> 'id', 'user_input_schema',
	(SELECT jsonb_agg(jsonb_build_object('name', 'a' || i, 'value', i::text)) FROM generate_series(1, 99) i))) FROM agno.runs WHERE run_id = 'fields'));), '00000', 'each field once');
expect_run('calls', { status => 'COMPLETED' }, 'the calls are made');
expect_run('fields', { status => 'COMPLETED', content => 'Results: asked' }, 'and the other one');
$node->stop;
done_testing();
