# Composite types whose columns are of composite types: what a model is told of them
# doubles with each level. A tool with such an argument is refused as soon as that is too
# long, not when there is no memory left. Alone: it measures memory.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => "agno_bg.max_input_size = 1MB\n");
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q{
	CREATE TYPE app.q0 AS (a integer, b integer);
	DO $x$ BEGIN
		FOR i IN 1 .. 16 LOOP
			EXECUTE format('CREATE TYPE app.q%s AS (a app.q%s, b app.q%s)', i, i - 1, i - 1);
		END LOOP;
	END $x$;
	CREATE FUNCTION app.small(a app.q4) RETURNS integer LANGUAGE sql AS 'SELECT 1';
	CREATE FUNCTION app.large(a app.q16) RETURNS integer LANGUAGE sql AS 'SELECT 1';
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('large', 'mock:tools', '{app.large}')});
my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'app' ]);
my $pid = $session->query('SELECT pg_backend_pid()');
like($session->query(q(SELECT agno_describe_tool('app.small'))), qr/"minimum"/, 'a type of types');
my $before = status_of($pid, 'VmHWM');
foreach my $sql (q(agno_describe_tool('app.large')), q(agno_arun('x', 'large')))
{
	like($session->query("\\set VERBOSITY sqlstate\nSELECT $sql;\n\\echo :SQLSTATE"), qr/53400/, "it is too long: $sql");
}
my $growth = status_of($pid, 'VmHWM') - $before;
note("$growth kB");
cmp_ok($growth, '<', 100_000, 'that takes no memory to speak of');
$session->quit;
$node->stop;
done_testing();
