# No role stops another. One with 100,000 pending and hundreds of hanging runs
# leaves a tenth of the slots; and when even those are taken, a role that has
# nothing in flight gets one all the same. Roles whose runs wait take turns,
# whatever priority they give. A role whose account is empty, or whose server
# asks for years of silence, slows down nobody who has a key of his own.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', conf => "max_connections = 50");
my $url = start_mock('mock');
$node->safe_psql(
	'postgres', qq(
	CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$url')));
foreach my $role ('a' .. 'd')
{
	make_user($role);
	$node->safe_psql(
		'postgres', qq(
		GRANT USAGE ON FOREIGN SERVER mock TO $role;
		CREATE USER MAPPING FOR $role SERVER mock
			OPTIONS (api_key 'sk-of-role-$role')));
}

# The median time of so many calls, in a session that is warm, in ms.
sub latency
{
	my ($role, $count) = @_;
	my $calls = join "\n",
	  map { "CALL agno_run('quick', model => 'mock:echo') \\g /dev/null" }
	  1 .. $count;
	my $times = as($role, "CALL agno_run('warm', model => 'mock:echo')"
		  . " \\g /dev/null\n\\timing on\n$calls");
	my @times = sort { $a <=> $b } $times =~ /Time: ([\d.]+) ms/g;

	die "no times in $times" if @times != $count;
	return $times[ @times / 2 ];
}

# One role floods
my $idle = latency('a', 21);
as('b', q(SELECT count(*) FROM generate_series(1, 1000) i,
	agno_arun('hangs ' || i, model => 'mock:hang', timeout => '1 hour')));
$node->poll_query_until('postgres',
	"SELECT in_flight = 900 FROM agno.workers WHERE database = 'postgres'")
  or die 'role b has not nine tenths of the slots';
pass('a role gets nine tenths of the slots');
as('b', q(SELECT count(*) FROM generate_series(1, 100000) i,
	agno_arun('waits ' || i, model => 'mock:echo', priority => 2147483647)));
my $busy = latency('a', 21);
note("a call takes $idle ms when idle, $busy ms beside the flood");
# (The rest is for what else the machine does.)
cmp_ok($busy, '<', 3 * $idle + 50,
	'beside 100,000 pending and 900 hanging runs of another role, a call takes less than three times as long');
is(value("count(*) FROM agno.runs WHERE owner = 'b'::regrole AND status = 'RUNNING'"),
	900, 'the other role still has no more than its limit');

# All slots are taken
as('c', q(SELECT count(*) FROM generate_series(1, 200) i,
	agno_arun('hangs ' || i, model => 'mock:hang', timeout => '1 hour')));
$node->poll_query_until('postgres',
	"SELECT in_flight = 1000 FROM agno.workers WHERE database = 'postgres'")
  or die 'role c has not got what is left';
my $full = latency('d', 11);
note("$full ms when all slots are taken");
cmp_ok($full, '<', 10 * $idle + 50,
	'a role with nothing in flight gets a slot even when all are taken');
cmp_ok(value("in_flight FROM agno.workers WHERE database = 'postgres'"),
	'<=', 1001, 'and not more than one');
as($_, q(SELECT count(*) FROM agno.runs r, agno_cancel_run(r.run_id)
	WHERE status IN ('PENDING', 'RUNNING')))
  foreach 'b', 'c';
$node->poll_query_until('postgres',
	'SELECT NOT EXISTS (SELECT FROM agno.run_queue)')
  or die 'the queue is not empty';

# Turns
configure(max_concurrent_runs => '20', paused => 'on');
as('b', q(SELECT count(*) FROM generate_series(1, 400) i,
	agno_arun('turn ' || i, model => 'mock:slow-20', priority => 10)));
as('c', q(SELECT count(*) FROM generate_series(1, 100) i,
	agno_arun('turn ' || i, model => 'mock:slow-20')));
configure(paused => 'off');
$node->poll_query_until('postgres',
	"SELECT count(*) = 500 FROM agno.runs
		WHERE input LIKE 'turn %' AND status = 'COMPLETED'")
  or die 'they do not complete';
# (All 400 if they did not; about 90 if the model server had nothing else to do.)
cmp_ok(value("count(*) FROM agno.runs WHERE input LIKE 'turn %'
		AND owner = 'b'::regrole AND finished_at <
		(SELECT percentile_disc(0.9) WITHIN GROUP (ORDER BY finished_at)
			FROM agno.runs
			WHERE input LIKE 'turn %' AND owner = 'c'::regrole)"),
	'<', 340, 'roles take turns, whatever their priorities');

# The places at a server
$node->safe_psql('postgres',
	"ALTER SERVER mock OPTIONS (ADD max_concurrency '10')");
as('b', q(SELECT count(*) FROM generate_series(1, 50) i,
	agno_arun('place ' || i, model => 'mock:hang', timeout => '1 hour')));
$node->poll_query_until('postgres',
	"SELECT count(*) = 41 FROM agno.run_queue WHERE state = 'p'")
  or die 'the runs do not wait for a place';
as($_, q(SELECT count(*) FROM generate_series(1, 3) i,
	agno_arun('beside ' || i, model => 'mock:slow-100')))
  foreach 'c', 'd';
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 6 FROM agno.runs
			WHERE input LIKE 'beside %' AND status = 'COMPLETED'"),
	'runs that wait for a place at a server are not behind those of a role that has its share of them');
is(value("count(*) FROM agno.runs
	WHERE input LIKE 'place %' AND status = 'RUNNING'"),
	9, 'which is nine tenths');
as('b', q(SELECT count(*) FROM agno.runs r, agno_cancel_run(r.run_id)
	WHERE status IN ('PENDING', 'RUNNING')));
$node->safe_psql('postgres', 'ALTER SERVER mock OPTIONS (DROP max_concurrency)');
$node->poll_query_until('postgres',
	'SELECT NOT EXISTS (SELECT FROM agno.run_queue)')
  or die 'the queue is not empty';

# A limit for good
configure(max_runs_per_role => '3');
as('b', q(SELECT count(*) FROM generate_series(1, 10) i,
	agno_arun('few ' || i, model => 'mock:hang', run_id => 'few' || i)));
$node->poll_query_until('postgres',
	"SELECT count(*) = 3 FROM agno.runs
		WHERE input LIKE 'few %' AND status = 'RUNNING'")
  or die 'three runs do not start';
as('a', "CALL agno_run('between', model => 'mock:echo')");
is(value("count(*) FROM agno.runs WHERE input LIKE 'few %' AND status = 'RUNNING'"),
	3, 'agno_bg.max_runs_per_role bounds the share of a role');
as('b', q(SELECT agno_cancel_run('few1')));
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 3 FROM agno.runs
			WHERE input LIKE 'few %' AND status = 'RUNNING'"),
	'one that ends makes room for the next');
as('b', q(SELECT count(*) FROM generate_series(1, 10) i,
	agno_cancel_run('few' || i)));

# Keys: what the server says to one role is not meant for the others
my $before = latency('a', 21);
as('b', q(SELECT count(*) FROM generate_series(1, 3) i,
	agno_arun('empty ' || i, model => 'mock:quota')));
as('b', q(SELECT agno_arun('years', model => 'mock:after-900000000-429',
	run_id => 'years')));
$node->poll_query_until('postgres',
	"SELECT status = 'ERROR' AND (error->>'http_status')::int = 429
		FROM agno.runs WHERE run_id = 'years'")
  or die 'a run waits for longer than it may take';
my $after = latency('a', 21);
note("$before ms before, $after ms after another role's 429");
cmp_ok($after, '<', 5 * $before + 20,
	'a 429 for one key slows down no other');

# A queue for each
configure(max_queue_depth_per_role => '5');
as('b', q(SELECT count(*) FROM generate_series(1, 5) i,
	agno_arun('queued ' || i, model => 'mock:hang')));
my ($ret, $out, $err) = $node->psql('postgres',
	"\\set VERBOSITY verbose\nSELECT agno_arun('too many', model => 'mock:hang')",
	extra_params => [ '-U', 'b' ]);
like($err, qr/53400: .*HINT/s,
	'agno_bg.max_queue_depth_per_role bounds the queue of a role');
is( as('a', q(SELECT status FROM agno_arun('mine', model => 'mock:echo'))),
	'PENDING', 'and of no other');

$node->stop;
done_testing();
