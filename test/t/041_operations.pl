# With runs in flight: ALTER DATABASE SET TABLESPACE, DROP EXTENSION that is
# rolled back and one that is not, DROP OWNED of who created it, reloads, and a
# fast restart. Each just works, though no run ends before the command has.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# How long a command may take that waits for nothing, in seconds, also on a disk that
# others use. PostgreSQL itself would wait for five for a process that does not leave.
my $limit = 3;

my $node = new_node('main', no_extension => 1);
my $url = start_mock('mock');

sub database_in_use
{
	my ($database) = @_;
	new_database($database, $url);
	fly($database, "of $database", 'gate', 'run');
}

sub fly
{
	my ($database, $input, $model, $run_id) = @_;
	enqueue($run_id, $model, input => $input, database => $database);
	wait_for_request($input);
}

# How long a command takes, in seconds.
sub duration
{
	my ($database, $command) = @_;
	$node->safe_psql('postgres', 'CHECKPOINT');
	my $start = time;
	$node->safe_psql($database, $command);
	return time - $start;
}

sub closed
{
	return scalar(grep { $_->{event} eq 'closed' } mock_log('mock'));
}

# What a command takes without us is taken off.
my $space = "$PostgreSQL::Test::Utils::tmp_check/space";
mkdir $space;
$node->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '$space'");
$node->safe_psql('postgres', 'CREATE DATABASE plain');
my $base = duration('postgres', 'ALTER DATABASE plain SET TABLESPACE space');
database_in_use('moved');
my $ours = duration('postgres', 'ALTER DATABASE moved SET TABLESPACE space');
cmp_ok($ours - $base, '<', $limit,
	'ALTER DATABASE SET TABLESPACE does not wait for a run in flight');
open_gate();
is(wait_run('run', 'moved'), 'COMPLETED',
	'the run completes after ALTER DATABASE SET TABLESPACE');
is($node->safe_psql('moved', 'SELECT attempt FROM agno.runs'),
	1, 'the run completes in one attempt after ALTER DATABASE SET TABLESPACE');
close_gate();

$base = duration('postgres', 'DROP DATABASE plain');
database_in_use('dropped');
$ours = duration('postgres', 'DROP DATABASE dropped');
cmp_ok($ours - $base, '<', $limit,
	'DROP DATABASE does not wait for a run in flight');

# DROP EXTENSION
database_in_use('one');
cmp_ok(duration('one', 'BEGIN; DROP EXTENSION agno_bg CASCADE; ROLLBACK'),
	'<', $limit,
	'DROP EXTENSION that is rolled back does not wait for a run in flight');
open_gate();
is(wait_run('run', 'one'), 'COMPLETED',
	'the run completes after DROP EXTENSION that was rolled back');
is($node->safe_psql('one', 'SELECT attempt FROM agno.runs'),
	1, 'the run is undisturbed by DROP EXTENSION that was rolled back');
close_gate();
fly('one', 'in vain', 'hang', 'in vain');
my $before = closed();
cmp_ok(duration('one', 'DROP EXTENSION agno_bg CASCADE'),
	'<', $limit, 'DROP EXTENSION does not wait for a run in flight');
wait_until('the end of the request', sub { closed() > $before });
is( $node->safe_psql('one',
		"SELECT count(*) FROM pg_namespace WHERE nspname = 'agno'"),
	0, 'DROP EXTENSION leaves no schema behind');
$node->safe_psql('one', 'CREATE EXTENSION agno_bg');
add_mock_server($url, database => 'one');
enqueue('x', 'echo', database => 'one');
is(wait_run('x', 'one'), 'COMPLETED',
	'a run completes when the extension was created again');

# DROP OWNED of the superuser who created the extension
$node->safe_psql('postgres', 'CREATE ROLE maker SUPERUSER; CREATE DATABASE two');
$node->safe_psql('two', 'SET ROLE maker; CREATE EXTENSION agno_bg');
add_mock_server($url, database => 'two');
fly('two', 'orphan', 'hang', 'orphan');
$before = closed();
cmp_ok(duration('two', 'DROP OWNED BY maker CASCADE'), '<', $limit,
	'DROP OWNED does not wait for a run in flight');
wait_until('the end of the request', sub { closed() > $before });

# Reloads, one after the other, are of no consequence.
fly('one', 'reload', 'gate', 'reload');
my $pid = runner_pid('one');
foreach (1 .. 20)
{
	$node->reload;
}
open_gate();
is(wait_run('reload', 'one'), 'COMPLETED',
	'a run in flight completes after twenty reloads');
is(runner_pid('one'), $pid, 'the runner stays the same after twenty reloads');
close_gate();

# A fast restart waits for no answer.
$node->safe_psql('postgres', 'CHECKPOINT');
my $start = time;
$node->restart;
$base = time - $start;
fly('one', 'restart', 'gate', 'restart');
$node->safe_psql('postgres', 'CHECKPOINT');
$start = time;
$node->restart;
cmp_ok(time - $start - $base, '<', $limit,
	'a fast restart does not wait for a run in flight');
open_gate();
is(wait_run('restart', 'one'), 'COMPLETED',
	'a run that a fast restart interrupted completes');
is( $node->safe_psql('one',
		"SELECT attempt FROM agno.runs WHERE run_id = 'restart'"),
	1, 'the attempt that a fast restart interrupted is not counted');

$node->stop;
done_testing();
