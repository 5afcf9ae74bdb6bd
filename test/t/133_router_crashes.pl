# What a crash can leave of a transaction that has enqueued through a router. Each
# window between its first statement and its last commit is hit: nodes are made to
# hang within their commit, which has been written, by a standby that does not exist;
# then the router, or the node, is stopped the hard way. Before the first node has
# committed, nothing is left. After it, its runs are there, and are executed, while what
# the router and the other nodes were to commit is not.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoCluster;
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

need_plproxy();
my ($router, $n1, $n2) = new_cluster(2);

make_user($_, 'app') foreach $n1, $n2, $router;
$router->safe_psql('postgres', q(CREATE TABLE orders (id text PRIMARY KEY, CHECK (id <> ''));
	CREATE TABLE lines (id text REFERENCES orders DEFERRABLE INITIALLY DEFERRED); GRANT ALL ON orders, lines TO app));
my %session = (n1 => own_id($router, 's', 'n1'), n2 => own_id($router, 's', 'n2'));

# A transaction that inserts an order and enqueues a run on each of these nodes, in the
# background, up to this end. Returns its process; its output is in $said.
my $said;
sub transaction
{
	my ($id, $end, @on) = @_;
	my $enqueue = join ' ', map { "SELECT agno_arun('$id', run_id => '$id-$_', session_id => '$session{$_}', model => 'mock:echo');" } @on;

	$said = '';
	return IPC::Run::start([ 'psql', '-XAtq', '-U', 'app', '-d', $router->connstr('postgres'),
			'-c', "BEGIN; INSERT INTO orders VALUES ('$id'); $enqueue $end" ],
		'<', '/dev/null', '>', \$said, '2>', \$said);
}

# Let commits of a node hang, or go on.
sub hang { my ($node) = @_; $node->safe_psql('postgres', q(ALTER SYSTEM SET synchronous_standby_names = 'nobody')); $node->reload; $node->poll_query_until('postgres', "SELECT current_setting('synchronous_standby_names') = 'nobody'"); }
sub go_on { my ($node) = @_; $node->safe_psql('postgres', 'ALTER SYSTEM RESET synchronous_standby_names'); $node->reload; }
# Whether a backend of app's is within its commit.
sub commits { my ($node) = @_; return value($node, q(count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'SyncRep')); }
# Wait until the router's connections to a node are gone.
sub wait_gone { my ($node) = @_; $node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'app' AND backend_type = 'client backend'))); }
sub runs { my ($node, $id) = @_; return value($node, "count(*) FROM agno.runs WHERE input = '$id'"); }
sub ordered { my ($id) = @_; return value($router, "count(*) FROM orders WHERE id = '$id'"); }
sub completes { my ($node, $id, $what) = @_; ok($node->poll_query_until('postgres', "SELECT status = 'COMPLETED' FROM agno.runs WHERE input = '$id'"), $what); }

#-------------------------------------------------------------------------
# The router
#-------------------------------------------------------------------------

# Before it commits
my $client = transaction('early', 'SELECT pg_sleep(600)', 'n1', 'n2');
foreach my $node ($n1, $n2)
{
	$node->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'app' AND state = 'idle in transaction')));
}
$router->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep')));
$router->stop('immediate');
$client->finish;
$router->start;
wait_gone($_) foreach $n1, $n2;
is(ordered('early') + runs($n1, 'early') + runs($n2, 'early'), 0, 'a crash of the router before the commit leaves nothing');

# A commit that fails at the router before it has come to the nodes
$client = transaction('deferred', "INSERT INTO lines VALUES ('unknown'); COMMIT", 'n1', 'n2');
$client->finish;
like($said, qr/violates foreign key constraint/, 'a deferred constraint fails at the commit');
is(ordered('deferred') + runs($n1, 'deferred') + runs($n2, 'deferred'), 0, 'and leaves nothing');

# With one node: it has committed, the router has not.
hang($n1);
$client = transaction('one', 'COMMIT', 'n1');
wait_until('the commit on the node', sub { commits($n1) });
is(ordered('one'), 0, 'the router commits after the node');
$router->stop('immediate');
$client->finish;
go_on($n1);
$router->start;
completes($n1, 'one', 'a crash of the router between the commits: the run is there');
is(ordered('one'), 0, 'what the router was to commit is not');

# With two: the first has committed, the second has not.
hang($_) foreach $n1, $n2;
$client = transaction('two', 'COMMIT', 'n1', 'n2');
wait_until('the first commit', sub { commits($n1) + commits($n2) });
my ($first, $second) = commits($n1) ? ($n1, $n2) : ($n2, $n1);
is(commits($second), 0, 'nodes commit one after the other');
$router->stop('immediate');
$client->finish;
go_on($_) foreach $n1, $n2;
$router->start;
completes($first, 'two', 'a crash of the router between two nodes: the first has its run');
wait_gone($second);
is(runs($second, 'two') + ordered('two'), 0, 'the second has none, nor has the router its row');

#-------------------------------------------------------------------------
# A node
#-------------------------------------------------------------------------

# Before the commit
my $held = '';
my $holder = IPC::Run::start([ 'psql', '-XAtq', '-d', $router->connstr('postgres'), '-c', 'SELECT pg_advisory_lock(1), pg_sleep(600)' ],
	'<', '/dev/null', '>', \$held, '2>', \$held);
$router->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')));
$client = transaction('node', 'SELECT pg_advisory_lock(1); COMMIT', 'n1', 'n2');
$n2->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'app' AND state = 'idle in transaction')));
$n2->stop('immediate');
value($router, q(pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'));
$holder->finish;
$client->finish;
like($said, qr/ERROR|FATAL/, 'a node that has crashed meanwhile: the client gets an error');
$n2->start;
is(ordered('node') + runs($n2, 'node'), 0, 'neither the router nor that node has anything');
my $left = runs($n1, 'node');
cmp_ok($left, '<=', 1, "the other one has $left run, as it was the first to commit or not");

# Within its commit, which it has written
hang($n1);
$client = transaction('within', 'COMMIT', 'n1');
wait_until('the commit on the node', sub { commits($n1) });
$n1->stop('immediate');
$client->finish;
like($said, qr/ERROR|FATAL/, 'a node that crashes within its commit: the client gets an error');
$n1->start;
go_on($n1);
completes($n1, 'within', 'and the run is there, as the commit was written');
is(ordered('within'), 0, 'and the row of the router is not');

# With an id of one's own, and a look for it, the client can find out.
is(as($router, 'app', "SELECT status FROM agno_wait_run('within-n1')"), 'COMPLETED', 'with an id of one\'s own one can find out');

$_->stop foreach $router, $n1, $n2;
done_testing();
