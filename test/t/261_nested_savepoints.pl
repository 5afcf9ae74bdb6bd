# A role enqueues, and cancels, runs deep within savepoints, and leaves the transaction open.
# To whoever looks at such a row, each level is a step, each time. So what runners look at
# cannot be written that deep.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'max_prepared_transactions = 2');
add_mock_server(start_mock('mock'));
make_user('greedy', 'other');
as('other', q(CALL agno_run('x', model => 'mock:echo')));

sub nested
{
	my ($levels, $statement) = @_;
	my ($result, $out, $err) = $node->psql('postgres', join(';', 'BEGIN', ('SAVEPOINT s') x $levels, $statement, "PREPARE TRANSACTION 'nested $levels'"),
		extra_params => [ '-U', 'greedy' ], on_error_stop => 1);

	return $err;
}

my $many = "SELECT count(agno_arun('x', model => 'mock:echo')) FROM generate_series(1, 1900)";
my $error = qr/ERROR:  cannot execute agno_\w+\(\) in subtransactions that are nested more than 10 levels deep\nHINT:  Release savepoints before, or commit\./;
is(nested(9, $many), '', 'runs are enqueued in savepoints');
like(nested(20000, $many), $error, 'but not in very many of them');
like(nested(200, $_), $error, $_) foreach
  q(SELECT agno_cancel_run('x')),
  q(SELECT agno_continue_run('x')),
  q(SELECT agno_requeue_run('x')),
  q(SELECT agno_approve_call('x', 'y'));
my $took = calls_take('other', 20);
note("20 calls of another role take $took s");
cmp_ok($took, '<', 10, 'so others do not wait');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'nested 9'");

$node->stop;
done_testing();
