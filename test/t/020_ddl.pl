# With runs in flight, commands that want a database for themselves just work,
# quickly: the runner steps aside, its runs are put back without counting an
# attempt, and it comes back when the command has ended or failed.
# Alone: it measures how long commands take.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', no_extension => 1);
my $url = start_mock('mock');

sub database_in_use
{
	my ($database) = @_;
	new_database($database, $url);
	enqueue('run', 'slow-2500', input => "of $database", database => $database);
	wait_for_request("of $database");
}

# What such a command takes without us, in seconds
my $base = 0;

sub quick
{
	my ($command, $name) = @_;

	# these commands make one themselves, which may take its time
	$node->safe_psql('postgres', 'CHECKPOINT');
	my $start = time;
	my ($ret, $out, $err) = $node->psql('postgres', $command);
	my $duration = time - $start;
	is($ret, 0, $name) or diag($err);
	cmp_ok($duration - $base, '<', 1, "$name, quickly");
	return $duration;
}

database_in_use('dropped');
database_in_use('forced');
database_in_use('renamed');
database_in_use('source');

$node->safe_psql('postgres', 'CREATE DATABASE empty');
$base = 60;
$base = quick('CREATE DATABASE empty_copy TEMPLATE empty', 'without us');
$node->safe_psql('postgres', 'CREATE DATABASE unrelated');
quick('DROP DATABASE unrelated', 'DROP DATABASE of an unrelated one');
quick('DROP DATABASE dropped', 'DROP DATABASE');
quick('DROP DATABASE forced WITH (FORCE)', 'DROP DATABASE WITH (FORCE)');
quick('ALTER DATABASE renamed RENAME TO new_name', 'ALTER DATABASE RENAME');
quick('CREATE DATABASE copied TEMPLATE source', 'CREATE DATABASE TEMPLATE');

foreach my $database (qw(new_name source))
{
	is(wait_run('run', $database),
		'COMPLETED', "the run of $database completes");
	is( $node->safe_psql($database, 'SELECT attempt FROM agno.runs'),
		1, 'the run takes one attempt');
}

# Several commands in one transaction give back what they have held.
$node->safe_psql('postgres', 'BEGIN;
	ALTER DATABASE new_name RENAME TO one;
	ALTER DATABASE one RENAME TO two;
	ALTER DATABASE source RENAME TO three;
	ALTER DATABASE three RENAME TO source; COMMIT');
foreach my $database (qw(two source))
{
	enqueue('held', 'echo', input => 'x', database => $database);
	is(wait_run('held', $database),
		'COMPLETED', "database $database has its runner again");
}

# A command that fails brings the runner back, too.
my $session = $node->background_psql('source');
$session->query_safe('SELECT 1');
my ($ret) = $node->psql('postgres', 'DROP DATABASE source');
isnt($ret, 0, 'a database in use is not dropped');
$session->quit;
enqueue('back', 'echo', database => 'source');
is(wait_run('back', 'source'), 'COMPLETED',
	'its runner comes back when it is not dropped');

# A template has no runner, which would be in the way of its copies; they have.
$node->safe_psql('template1', 'CREATE EXTENSION agno_bg');
quick('CREATE DATABASE of_template', 'CREATE DATABASE of a template');
add_mock_server($url, database => 'of_template');
enqueue('x', 'echo', database => 'of_template');
is(wait_run('x', 'of_template'),
	'COMPLETED',
		'the copy of a template with the extension has a runner at once');

# Who may not drop a database cannot send its runner away either.
my $pid = runner_pid('source');
$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN');
($ret) = $node->psql('postgres', 'DROP DATABASE source',
	extra_params => [ '-U', 'nobody' ]);
isnt($ret, 0, 'the command of another role is refused');
is(runner_pid('source'), $pid, 'the runner stays where a command is refused');

# The extension is replaced by another one, which has a run already, before the
# runner looks.
$pid = runner_pid('source');
kill 'STOP', $pid;
$node->safe_psql('source', 'DROP EXTENSION agno_bg CASCADE');
$node->safe_psql('source', 'CREATE EXTENSION agno_bg');
add_mock_server($url, database => 'source');
enqueue('anew', 'echo', input => 'x', database => 'source');
kill 'CONT', $pid;
is(wait_run('anew', 'source'),
	'COMPLETED', 'runs of an extension that was created anew have a runner');

$node->stop;
done_testing();
