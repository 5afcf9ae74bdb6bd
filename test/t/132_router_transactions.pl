# Enqueueing through a router is part of the caller's transaction, on one node and on
# several: what is rolled back, to a savepoint as well, leaves no run, and a commit starts
# the runs. A set is sent in a few statements, not one per row. That the transaction on
# the node has one snapshot for all its statements is no hindrance.

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
my ($router, $n1, $n2) = new_cluster(2,
	conf => "shared_preload_libraries = 'agno_bg, pg_stat_statements'\nagno_bg.max_queue_depth = 5000\n",
	router_conf => "max_prepared_transactions = 5\n");

make_user($_, 'app') foreach $n1, $n2, $router;
$_->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements') foreach $n1, $n2;
$router->safe_psql('postgres', 'CREATE TABLE docs (id integer, body text); GRANT ALL ON docs TO app');
my $s1 = own_id($router, 's1', 'n1');
my $s2 = own_id($router, 's2', 'n2');

sub arun { my ($id, $session, $model) = @_; $model //= 'echo'; return "SELECT agno_arun('$id', run_id => '$id', session_id => '$session', model => 'mock:$model');"; }
sub known { return value($router, "string_agg(run_id, ',' ORDER BY run_id) FROM agno.runs WHERE run_id LIKE '$_[0]%'"); }

#-------------------------------------------------------------------------
# Commit and rollback
#-------------------------------------------------------------------------

as($router, 'app', 'BEGIN; ' . arun('undone-1', $s1) . arun('undone-2', $s2) . 'ROLLBACK');
is(known('undone'), '', 'what is rolled back leaves no run');
is(outcome_as($router, 'app', 'BEGIN; ' . arun('failed-1', $s1) . arun('failed-2', $s2) . 'SELECT 1/0; COMMIT'), '22012', 'an error');
is(known('failed'), '', 'leaves none either');
as($router, 'app', 'BEGIN; ' . arun('kept-1', $s1) . 'SAVEPOINT a; ' . arun('gone-1', $s1) . arun('gone-2', $s2)
	  . 'ROLLBACK TO a; ' . arun('kept-2', $s2) . 'RELEASE a; COMMIT');
is(known('kept'), 'kept-1,kept-2', 'what is committed on two nodes is there');
is(known('gone'), '', 'what is rolled back to a savepoint is not');
is(as($router, 'app', "SELECT string_agg(status || node, ' ') FROM unnest('{kept-1,kept-2}'::text[]) i, agno_wait_run(i)"),
	'COMPLETEDn1 COMPLETEDn2', 'the commit has started them');
is(outcome_as($router, 'app', "DO \$\$ BEGIN PERFORM agno_arun('x', run_id => 'kept-1', session_id => '$s1', model => 'mock:echo');
		EXCEPTION WHEN unique_violation THEN PERFORM agno_arun('x', run_id => 'caught', session_id => '$s1', model => 'mock:echo'); END \$\$"),
	'', 'an error of a node can be caught');
is(known('caught'), 'caught', 'and the transaction goes on');

# While it is open
is(as($router, 'app', 'BEGIN; ' . arun('open', $s1) . "SELECT status FROM agno_get_run_output('open'); ROLLBACK") =~ s/.*\n//sr, 'PENDING', 'the transaction sees its run');
is(outcome_as($router, 'app', 'BEGIN; ' . arun('open', $s1) . "SELECT agno_wait_run('open')"), '55000', 'it cannot wait for it');
is(outcome_as($router, 'app', 'BEGIN; ' . arun('open', $s1) . "SELECT agno_cancel_run('open')"), '55000', 'nor cancel it');
is(outcome_as($router, 'app', 'BEGIN; ' . arun('open', $s1) . "PREPARE TRANSACTION 'p'"), '0A000', 'nor be prepared');

# However it has enqueued, and wherever: by agno_arun or a row of agno.enqueue, in a
# session of the node that has the id's slot or of another. statement_timeout is so
# that the test ends, where a call would wait for its own transaction.
my $at_n1 = own_id($router, 'open-at', 'n1');
sub row { my ($id, $session) = @_; return "INSERT INTO agno.enqueue (input, run_id, session_id, model) VALUES ('x', '$id', '$session', 'mock:echo');"; }
foreach my $enqueued (arun($at_n1, $s1), arun($at_n1, $s2), row($at_n1, $s1), row($at_n1, $s2),
	"WITH i AS (INSERT INTO agno.enqueue (input, run_id, session_id, model) VALUES ('x', '$at_n1', '$s1', 'mock:echo')) SELECT 1;")
{
	my $begin = "SET statement_timeout = '10s'; BEGIN; $enqueued";

	is(as($router, 'app', "$begin SELECT status FROM agno_get_run_output('$at_n1'); ROLLBACK") =~ s/.*\n//sr, 'PENDING', "$enqueued it is seen");
	is(outcome_as($router, 'app', "$begin SELECT $_('$at_n1')"), '55000', "$_ is refused") foreach qw(agno_wait_run agno_cancel_run agno_requeue_run);
}
is(outcome_as($router, 'app', "SET statement_timeout = '10s'; BEGIN; SAVEPOINT a; " . row($at_n1, $s1) . "ROLLBACK TO a; SELECT agno_cancel_run('$at_n1'); ROLLBACK") =~ s/.*\n//sr, 'f',
	'what is rolled back was not enqueued');
is(known('open'), '', 'nothing of this is left');

#-------------------------------------------------------------------------
# Read-only transactions
#-------------------------------------------------------------------------

foreach my $mode ('BEGIN READ ONLY', 'SET default_transaction_read_only = on', 'BEGIN; SET TRANSACTION READ ONLY')
{
	is(outcome_as($router, 'app', "$mode; " . arun('read-only', $s1)), '25006', "$mode: agno_arun");
	is(outcome_as($router, 'app', "$mode; INSERT INTO agno.enqueue (input) VALUES ('x')"), '25006', "$mode: agno.enqueue");
}

#-------------------------------------------------------------------------
# Sets
#-------------------------------------------------------------------------

as($router, 'app', "INSERT INTO docs SELECT i, 'set ' || i FROM generate_series(1, 1000) i");
$_->safe_psql('postgres', 'SELECT pg_stat_statements_reset()') foreach $n1, $n2;
as($router, 'app', "INSERT INTO agno.enqueue (input, model, metadata) SELECT body, 'mock:echo', jsonb_build_object('doc', id) FROM docs");
is(value($router, "count(*) || ' ' || count(DISTINCT metadata->>'doc') FROM agno.runs WHERE input LIKE 'set %'"), '1000 1000', 'a set is enqueued');
foreach my $node ($n1, $n2)
{
	my $count = value($node, "count(*) FROM agno.runs WHERE input LIKE 'set %'");
	my $statements = statements($node, 'INSERT INTO agno.enqueue%');

	cmp_ok($count, '>', 300, $node->name . ': half of it');
	cmp_ok($statements, '<=', 3, $node->name . ": $count rows in $statements statements");
}
is(value($router, "count(*) FROM agno.runs WHERE input LIKE 'set %' AND agno.node_of(run_id) <> node"), 0, 'each run is on the node that its id says');
ok($router->poll_query_until('postgres', "SELECT count(*) = 1000 FROM agno.runs WHERE input LIKE 'set %' AND status = 'COMPLETED'"), 'all complete');

is(as($router, 'app', "WITH ids AS MATERIALIZED (SELECT body, agno.new_id(id) AS session FROM docs WHERE id <= 50),
		more AS MATERIALIZED (SELECT body, session, agno.new_id(agno_slot(session)) AS run FROM ids),
		sent AS (INSERT INTO agno.enqueue (input, session_id, run_id, model) SELECT 'named ' || body, session, run, 'mock:echo' FROM more)
		SELECT count(*) FROM more"), 50, 'a set with ids that are known beforehand');
is(value($router, "count(*) FROM agno.runs WHERE input LIKE 'named %'"), 50, 'is enqueued');
is(as($router, 'app', "SELECT count(DISTINCT r.run_id) FROM docs d, agno_arun(d.body, model => 'mock:echo', metadata => '{\"row\": 1}') r WHERE d.id <= 50"),
	50, 'and a call for each row gives the ids');
is(outcome_as($router, 'app', "INSERT INTO agno.enqueue (input, model) SELECT CASE WHEN i = 150 THEN '' ELSE 'bad ' || i END, 'mock:echo' FROM generate_series(1, 200) i"),
	'22023', 'a set with one bad row');
is(value($router, "count(*) FROM agno.runs WHERE input LIKE 'bad %'"), 0, 'is not enqueued at all');
is(outcome_as($router, 'app', "INSERT INTO agno.enqueue (input, model, run_at) SELECT 'deep ' || i, 'mock:echo', '2100-01-01' FROM generate_series(1, 12000) i"),
	'53400', 'agno_bg.max_queue_depth of a node bounds a set');
is(value($router, "count(*) FROM agno.runs WHERE input LIKE 'deep %'"), 0, 'as a whole');

#-------------------------------------------------------------------------
# Snapshots
#-------------------------------------------------------------------------

# A transaction of the router sees a node as it was when it first came there.
my ($in, $out, $err) = ('', '', '');
my $timer = IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default);
my $client = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-U', 'app', '-d', $router->connstr('postgres') ],
	'<', \$in, '>', \$out, '2>', \$err, $timer);
sub say_and_wait { my ($sql, $until) = @_; $in .= "$sql\n"; $client->pump until $out =~ /$until/ || $err =~ /$until/; }

say_and_wait("BEGIN; " . arun('first', $s1) . " SELECT 'begun';", qr/begun/);
as($router, 'app', arun('meanwhile', $s1));
is(as($router, 'app', "SELECT status FROM agno_wait_run('meanwhile')"), 'COMPLETED', 'another transaction uses the session, and its run ends');
say_and_wait(arun('second', $s1) . " COMMIT; SELECT 'done';", qr/done|ERROR/);
is(known('second'), 'second', 'to go on in a session that has changed meanwhile works');
$in .= "\\q\n";
$client->finish;

# Clients that use the same session, and one key, at once: only who opens a session at
# the very moment another does is told to try again.
my $shared = own_id($router, 'shared', 'n2');
as($router, 'app', arun('opens', $shared));
sub clients
{
	my ($call) = @_;
	my $errors = 0;
	my @outputs;
	my @clients = map {
		my $i = $_;
		my $output = '';
		push @outputs, \$output;
		IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-U', 'app', '-d', $router->connstr('postgres'),
				map { ('-c', $call =~ s/NUMBER/$i-$_/r) } 1 .. 20 ], '<', '/dev/null', '>', '/dev/null', '2>', \$output)
	} 1 .. 4;
	$_->finish foreach @clients;
	return join '', map { $$_ } @outputs;
}
is(clients("SELECT agno_arun('x', session_id => '$shared', run_id => 'c-NUMBER', model => 'mock:echo')"), '', 'clients that share a session');
is(value($router, "count(*) FROM agno.runs WHERE run_id LIKE 'c-%'"), 80, 'all their runs are accepted');
ok($router->poll_query_until('postgres', "SELECT count(*) = 80 FROM agno.runs WHERE run_id LIKE 'c-%' AND status = 'COMPLETED'"), 'and complete');
unlike(clients("SELECT agno_arun('one', idempotency_key => 'shared', model => 'mock:echo')"), qr/ERROR:  (?!40001)/, 'clients that share a key');
is(value($router, "count(*) FROM agno.runs WHERE input = 'one'"), 1, 'have one run');

$_->stop foreach $router, $n1, $n2;
done_testing();
