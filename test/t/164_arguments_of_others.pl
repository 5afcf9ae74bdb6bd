# A model gives an argument that somebody else is to give: tools with a schema of one's
# own may let it. Its call is refused, and nobody's decision is made by it. What it gives
# for one that is bound does not count.

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
$node->safe_psql('postgres', q(CREATE SCHEMA app AUTHORIZATION app));
as('app', q{
	CREATE FUNCTION app.pay(amount integer, lim integer DEFAULT 10, who text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$ SELECT format('paid %s limit %s by %s', amount, lim, who) $$;
	INSERT INTO agno.tools (tool, function, parameters, requires_user_input, bind) VALUES
		('pay', 'app.pay', '{"type": "object", "properties": {"amount": {"type": "integer"}}}', '{lim}', '{"who": "user_id"}');
	INSERT INTO agno.agents (agent_id, model, tools) VALUES ('payer', 'mock:tools', '{pay}')});
foreach my $given ({ lim => 1000000 }, { lim => undef })
{
	my ($name) = keys %$given;
	my $id = "$name " . ($given->{$name} // 'null');
	call_tools($id, 'payer', [ [ [ pay => { amount => 1, %$given } ] ] ], role => 'app', user_id => 'ann');
	expect_run($id, { status => 'COMPLETED', content => qr/"$name" is not to be given/ }, "a model does not give $name");
	is(value("count(*) FROM agno.requirements WHERE run_id = '$id'"), 0, 'and nobody is asked');
}
call_tools('asked', 'payer', [ [ [ pay => { amount => 3, who => 'root' } ] ] ], role => 'app', user_id => 'ann');
is(wait_run('asked'), 'PAUSED', 'a call without it waits for it');
as('app', q(SELECT agno_answer_call('asked', tool_call_id, '{"lim": 5}') FROM agno.approvals WHERE run_id = 'asked'));
expect_run('asked', { status => 'COMPLETED', content => 'Results: paid 3 limit 5 by ann' }, 'and gets what somebody gives');
$node->stop;
done_testing();
