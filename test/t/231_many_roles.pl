# Many roles with a run each share the commits of the runner, on a disk that takes its time,
# though another role has a run now and then that takes long.
# Faults injected: a trigger takes its time for each run of a role; commits are delayed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use AgnoInvariants;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($roles, $node) = (40, new_node('main', conf => "max_connections = 100\ncommit_delay = 5000\ncommit_siblings = 0"));
add_mock_server(start_mock('mock'));
make_user('app', map { "o$_" } 0 .. $roles - 1);
my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/each.sql", q(SET ROLE o:client_id; CALL agno_run('x', model => E'mock\x3aecho');));
append_to_file("$dir/long.sql", q(SELECT agno_arun('long', model => E'mock\x3aecho'); SELECT pg_sleep(0.2);));

# How many runs a second the roles have executed.
sub rate
{
	my ($out, $err);
	IPC::Run::run([ 'pgbench', '-n', '-T', 5, '-c', $roles, '-f', "$dir/each.sql", '-h', $node->host, '-p', $node->port, 'postgres' ], '>', \$out, '2>', \$err);
	$out =~ /tps = ([0-9.]+)/ or die $err;
	note($1);
	return $1;
}

my $undisturbed = rate();
slow_runs('app', 'COMPLETED', 0.025);
my ($out, $err);
my $long = IPC::Run::start([ 'pgbench', '-n', '-T', 120, '-f', "$dir/long.sql", '-h', $node->host, '-p', $node->port, '-U', 'app', 'postgres' ], '>', \$out, '2>', \$err);
ok($node->poll_query_until('postgres', q(SELECT count(*) > 2 FROM agno.runs WHERE input = 'long' AND status = 'COMPLETED')), 'a role has runs that take long');
my $done = q(count(*) FROM agno.runs WHERE input = 'long' AND status = 'COMPLETED');
my $before = value($done);
cmp_ok(rate(), '>', $undisturbed / 4, 'those of the others are executed together');
cmp_ok(value($done) - $before, '>', 5, 'beside its own');
$long->kill_kill;

# Who was slow does not stay so.
$node->safe_psql('postgres', 'DROP TRIGGER slow ON agno.runs');
$node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM agno.run_queue)');
my $start = time;
as('app', q(SELECT count(agno_arun('short', model => 'mock:echo')) FROM generate_series(1, 1000)));
ok($node->poll_query_until('postgres', q(SELECT NOT EXISTS (SELECT FROM agno.run_queue))), 'its runs are short again');
note(time - $start);
cmp_ok(time - $start, '<', 5, 'and are executed together');
is($node->safe_psql('postgres', queue_violations()), '', 'the invariants hold');
$node->stop;
done_testing();
