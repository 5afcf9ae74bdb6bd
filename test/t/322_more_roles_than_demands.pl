# More roles want a tool worker at once than it is remembered of. All get one.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $roles = 1100;
my $node = new_node('main', conf => "agno_bg.max_concurrent_runs = 3000\nagno_bg.max_tool_workers = 0\n");
add_mock_server(start_mock('mock'));
make_user('everybody');
$node->safe_psql('postgres', qq(
	CREATE FUNCTION same(x int) RETURNS int LANGUAGE sql AS 'SELECT x';
	DO \$\$ BEGIN FOR i IN 1..$roles LOOP
		EXECUTE format('CREATE ROLE r%s LOGIN IN ROLE everybody', i); END LOOP; END \$\$));
as('everybody', q(INSERT INTO agno.agents (agent_id, model, tools) VALUES ('shared', 'mock:tools', '{public.same}')));
$node->safe_psql('postgres', join('', 'BEGIN;', (map {
	qq(SET SESSION AUTHORIZATION r$_;
	SELECT agno_arun('{"calls":[[{"name":"same","arguments":{"x":1}}]]}', agent_id => 'shared', run_id => 'r$_');
	RESET SESSION AUTHORIZATION;) } 1 .. $roles), 'COMMIT'));
wait_until('all to want one', sub { value('count(*) FROM agno.tool_queue') == $roles });
configure(max_tool_workers => 8);
wait_until('all to be over', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });
is(value(q(count(*) FROM agno.runs WHERE status = 'COMPLETED')), $roles, 'all tools are called');

$node->stop;
done_testing();
