# The policy of doc/tools.md holds for a role that owns the table and asks about it: its tools
# see the rows of the user of the run, and without a user none, whatever the model asks for. What
# the role does outside of runs is as before. The fault is a policy that does not hold for the
# table's owner, as policies do not unless they are forced.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoDocs;
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', 'CREATE SCHEMA app AUTHORIZATION app');
as('app', q{
	CREATE TABLE app.orders (id integer PRIMARY KEY, customer text);
	INSERT INTO app.orders VALUES (1, 'ann'), (2, 'bob'), (3, '');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('support', 'mock:tools', '{agno.run_sql_query}')});
my ($policy) = grep { /FORCE ROW LEVEL SECURITY/ } map { $_->[2] } blocks(page('doc/tools.md'));
my ($out, $err) = run_script($node, "SET search_path = app, public;\n" . ($policy =~ s/^SELECT.*//mr), '-U', 'app');
is($err, '', 'the policy is accepted');

my $everything = q(SELECT string_agg(id::text, ' ' ORDER BY id) AS ids FROM app.orders);
my @tries = (
	[ $everything, '[{"ids":"1"}]' ],
	[ "SET agno_bg.user_id = 'bob'; $everything", '42P11' ],
	[ "SELECT set_config('agno_bg.run_id', '', true), ($everything) AS ids", '22023' ]);
foreach my $i (0 .. $#tries)
{
	call_tools("ann $i", 'support', [ [ [ run_sql_query => { query => $tries[$i][0] } ] ] ], role => 'app', user_id => 'ann');
	wait_run("ann $i");
	is(value("coalesce(result, sqlstate) FROM agno.tool_calls WHERE run_id = 'ann $i'"), $tries[$i][1],
		"a tool sees the rows of the user at most: $tries[$i][0]");
}
call_tools('nobody', 'support', [ [ [ run_sql_query => { query => q(SELECT count(*) FROM app.orders WHERE customer <> '') } ] ] ], role => 'app');
wait_run('nobody');
is(value(q(result FROM agno.tool_calls WHERE run_id = 'nobody')), '[{"count":0}]', 'without a user, it sees nobody\'s');
is(as('app', "SELECT agno_call_tool('agno.run_sql_query', jsonb_build_object('query', \$\$$everything\$\$), 'ann')"), '[{"ids":"1"}]',
	'nor does a tool that is called for a user without a run');
is(as('app', $everything), '1 2 3', 'outside of runs, all is as before');
is(outcome_as('app', "UPDATE app.orders SET customer = 'eve' WHERE id = 3; INSERT INTO app.orders VALUES (4, 'eve')"), '',
	'and can be written');
is(outcome_as('app', "SET agno_bg.user_id = 'bob'"), '22023', 'nobody sets the user');

$node->stop;
done_testing();
