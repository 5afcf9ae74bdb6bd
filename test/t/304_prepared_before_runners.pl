# What has been prepared when there were other runners than now, fewer or more, is executed and
# cancelled when it is committed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use PostgreSQL::Test::Cluster;
use Test::More;

my $runs = 12;
my $node = new_node('main', conf => 'max_prepared_transactions = 10');
add_mock_server(start_mock('mock'));

# Enqueues runs, and cancels others that are not there yet, in prepared transactions.
sub prepare
{
	my ($name) = @_;

	$node->safe_psql('postgres', qq(
		BEGIN;
		SELECT count(agno_arun('x', model => 'mock:echo', run_id => '$name-' || i)) FROM generate_series(1, $runs) i;
		PREPARE TRANSACTION '$name';
		BEGIN;
		SELECT count(agno_cancel_run('$name-later-' || i)) FROM generate_series(1, $runs) i;
		PREPARE TRANSACTION '$name-cancel'));
	return;
}

sub restart_with
{
	my ($runners) = @_;

	$node->append_conf('postgresql.conf', "agno_bg.runners = $runners");
	$node->restart;
	$node->poll_query_until('postgres', "SELECT count(*) = $runners FROM agno.workers WHERE state = 'running'")
	  or die 'there are not so many runners';
	return;
}

sub commit
{
	my ($name) = @_;

	$node->safe_psql('postgres', qq(SELECT count(agno_arun('$name', model => 'mock:hang', run_id => '$name-later-' || i)) FROM generate_series(1, $runs) i));
	wait_until('the requests', sub { mock_requests('mock', $name) == $runs });
	$node->safe_psql('postgres', qq(
		COMMIT PREPARED '$name';
		COMMIT PREPARED '$name-cancel'));
	ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE run_id ~ '^$name-[0-9]+\$' AND status = 'COMPLETED'"),
		"$name: all runs are executed");
	ok($node->poll_query_until('postgres', "SELECT count(*) = $runs FROM agno.runs WHERE run_id ~ '^$name-later' AND status = 'CANCELLED'"),
		"$name: all runs are cancelled");
	return;
}

prepare('one');
restart_with(4);
commit('one');
prepare('four');
restart_with(1);
commit('four');
is($node->safe_psql('postgres', queue_violations()), '', 'the queue is as it should be');
is(value('count(*) FROM agno.cancellations') . ' ' . value('count(*) FROM agno.run_signals'), '0 0', 'nothing is left');

$node->stop;
done_testing();
