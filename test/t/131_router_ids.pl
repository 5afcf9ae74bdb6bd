# Where a router looks for a run. A generated id says which node it is on, and no other
# node is asked. A run whose id is the caller's own is where that id belongs, unless it
# was given a session; it is found there as well, is cancelled before it starts
# there as well, and is not accepted twice as far as that can be known. And a call
# with an idempotency key that is repeated comes to the same node.

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
	conf => "shared_preload_libraries = 'agno_bg, pg_stat_statements'\n");
my %other = (n1 => $n2, n2 => $n1);

make_user($_, 'app', 'bob') foreach $n1, $n2, $router;
$_->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements') foreach $n1, $n2;

sub forget { $_->safe_psql('postgres', 'SELECT pg_stat_statements_reset()') foreach $n1, $n2; }
# How many statements of app a node has executed.
sub asked { return value($_[0], "coalesce(sum(calls), 0) FROM pg_stat_statements WHERE userid = 'app'::regrole"); }

#-------------------------------------------------------------------------
# Generated ids
#-------------------------------------------------------------------------

foreach my $name ('n1', 'n2')
{
	my $session = own_id($router, "session-$name", $name);

	forget();
	my $run = as($router, 'app', "SELECT run_id FROM agno_arun('Hello', session_id => '$session', model => 'mock:echo')");
	is(slot_of($router, $run), slot_of($router, $session), "$name: a run has the slot of its session");
	is(as($router, 'app', "SELECT status || ' ' || node FROM agno_wait_run('$run')"), "COMPLETED $name", "$name: it is where its session belongs");
	as($router, 'app', "SELECT agno_get_run_output('$run'), agno_get_run_output('$run', '$session'), agno_cancel_run('$run'),
		(SELECT count(*) FROM agno_run_events('$run')), agno_run_output_dict('$run')");
	is(outcome_as($router, 'app', "SELECT agno_requeue_run('$run')"), '55000', "$name: requeue");
	is(outcome_as($router, 'app', "SELECT agno_approve_call('$run')"), '55000', "$name: approve");
	is(asked($other{$name}), 0, "$name: the other node is not asked about a generated id");
	cmp_ok(asked($name eq 'n1' ? $n1 : $n2), '>', 8, "$name: its own is");
	is(as($router, 'app', "SELECT string_agg(node, ',') FROM agno.sessions WHERE session_id = '$session'"), $name, "$name: and has the session");
}

# New sessions are spread.
forget();
as($router, 'app', "SELECT count((agno_arun('Hello', model => 'mock:echo', run_at => '2100-01-01')).run_id) FROM generate_series(1, 60)");
cmp_ok(value($_, "count(*) FROM agno.runs WHERE run_at = '2100-01-01'"), '>', 9, 'sessions are spread over ' . $_->name) foreach $n1, $n2;
is(value($router, "count(*) FROM agno.runs WHERE run_at = '2100-01-01' AND agno.node_of(run_id) = node AND agno.node_of(session_id) = node"),
	60, 'each on the node that its ids say');

#-------------------------------------------------------------------------
# Ids of one's own
#-------------------------------------------------------------------------

my $home = own_id($router, 'home', 'n1');
enqueue($router, $home, 'echo', role => 'app');
is(as($router, 'app', "SELECT status || ' ' || node FROM agno_wait_run('$home')"), 'COMPLETED n1', 'an id of one\'s own decides about the session');
is(as($router, 'app', "SELECT agno_slot(session_id) = agno_slot('$home') FROM agno.runs WHERE run_id = '$home'"), 't', 'which has its slot');

my $away = own_id($router, 'away', 'n1');
my $session = own_id($router, 'elsewhere', 'n2');
enqueue($router, $away, 'echo', role => 'app', session_id => $session);
is(as($router, 'app', "SELECT status || ' ' || node FROM agno_wait_run('$away')"), 'COMPLETED n2', 'one in a session of another node is found there');
is(as($router, 'app', "SELECT count(*) FROM agno_get_run_output('$away', '$session')"), 1, 'and at once if the session is given');
is(outcome_as($router, 'app', "SELECT agno_requeue_run('$away')"), '55000', 'by other functions, too');

is(outcome_as($router, 'app', "SELECT agno_arun('x', run_id => '$away', session_id => '$session', model => 'mock:echo')"), '23505', 'it is in use on its node');
is(outcome_as($router, 'app', "SELECT agno_arun('x', run_id => '$away', session_id => '" . own_id($router, 'third', 'n1') . "', model => 'mock:echo')"),
	'23505', 'and in use for a session on another one');
is(outcome_as($router, 'app', "SELECT agno_arun('x', run_id => '$home', session_id => '$session', model => 'mock:echo')"), '23505', 'the same the other way round');
is(outcome_as($router, 'app', "SELECT agno_arun('x', run_id => '01a204c9-e2eb-7a09-8b7f-da3b38750001', session_id => '$session', model => 'mock:echo')"),
	'22023', 'one that looks like a generated one of another slot is refused by the node');

is(as($router, 'bob', "SELECT count(*) FROM agno_get_run_output('$away')"), 0, 'who may not see a run does not find it');

#-------------------------------------------------------------------------
# Cancel before start
#-------------------------------------------------------------------------

my %early = (
	'a generated id' => [ as($router, 'app', "SELECT agno.new_id(agno_slot('$home'))"), undef ],
	'its own' => [ own_id($router, 'early', 'n2'), undef ],
	'its own and a session on its node' => [ own_id($router, 'early2', 'n2'), $session ],
	'its own and a session on another node' => [ own_id($router, 'early3', 'n1'), $session ]);
foreach my $what (sort keys %early)
{
	my ($id, $of) = @{ $early{$what} };

	is(as($router, 'app', "SELECT agno_cancel_run('$id')"), 'f', "$what: a run that is unknown");
	enqueue($router, $id, 'echo', role => 'app', input => "early $what", $of ? (session_id => $of) : ());
	is(as($router, 'app', "SELECT status FROM agno_wait_run('$id')"), 'CANCELLED', "$what: it is cancelled before it starts");
}
is(scalar(grep { ($_->{body}{input}[-1]{content} // '') =~ /^early/ } mock_requests('mock')), 0, 'and no request was sent');

#-------------------------------------------------------------------------
# Idempotency keys
#-------------------------------------------------------------------------

sub keyed { my ($more) = @_; return as($router, 'app', "SELECT run_id FROM agno_arun('Once', model => 'mock:echo', idempotency_key => $more)"); }
my @runs = map { keyed("'key-$_'") } 1 .. 20;
is_deeply([ map { keyed("'key-$_'") } 1 .. 20 ], \@runs, 'a call that is repeated returns the earlier run');
is(value($router, "count(DISTINCT node) FROM agno.runs WHERE input = 'Once'"), 2, 'keys are spread over the nodes');
is(value($router, "count(*) FROM agno.runs WHERE input = 'Once'"), 20, 'each was enqueued once');
is(outcome_as($router, 'app', "SELECT agno_arun('Twice', model => 'mock:echo', idempotency_key => 'key-1')"), '23505', 'a key of another request');
is(keyed("'key-s', session_id => '$session'"), keyed("'key-s', session_id => '$session'"), 'with a session as well');
@runs = map { keyed("'key-i', run_id => 'of-key-$_'") } 1 .. 6;
is_deeply(\@runs, [ ('of-key-1') x 6 ], 'with an id of its own each time');
is(as($router, 'app', "SELECT agno_slot(session_id) = agno_slot('key-i') FROM agno_get_run_output('of-key-1')"), 't', 'which decides nothing');
as($router, 'app', "INSERT INTO agno.enqueue (input, model, run_id, idempotency_key) SELECT 'Once', 'mock:echo', 'row-' || i, 'key-i' FROM generate_series(1, 6) i");
is(value($router, "count(*) FROM agno.runs WHERE run_id ~ '^(of-key|row)'"), 1, 'nor in rows');
my $generated = as($router, 'app', "SELECT agno.new_id(agno_slot('key-g'))");
is(keyed("'key-g', run_id => '$generated'"), $generated, 'nor one that looks generated');
is(outcome_as($router, 'app', "SELECT agno_arun('x', run_id => agno.new_id(1 - agno_slot('key-g') % 2), idempotency_key => 'key-g', model => 'mock:echo')"),
	'22023', 'which has to be of the slot of the key');
is(outcome_as($router, 'app', "SELECT agno_arun('x', run_id => '$away', idempotency_key => '" . own_id($router, 'other', 'n1') . "', model => 'mock:echo')"),
	'23505', 'one that is in use elsewhere is refused');
isnt(as($router, 'bob', "SELECT run_id FROM agno_arun('Once', model => 'mock:echo', idempotency_key => 'key-1')"), keyed("'key-1'"), 'keys are of a role');

# Conditions with functions of ids: what is sent to the nodes exists there.
foreach my $condition ('agno.looks_generated(run_id)', 'agno_slot(run_id) >= 0', "agno.lost_node('08006', run_id)", 'agno.node_of(run_id) = node')
{
	like(outcome_as($router, 'app', "SELECT count(*) FROM agno.runs WHERE $condition"), qr/^\d+$/, "WHERE $condition");
}
is(value($router, q(string_agg(p.oid::regprocedure::text, ',') FROM pg_extension x JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = x.oid
	JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid WHERE x.extname = 'agno_router' AND p.provolatile = 'i')),
	'agno_slot(text)', 'of the immutable ones, which are sent, nodes have each');

$_->stop foreach $router, $n1, $n2;
done_testing();
