# Without room for the file that tells which run a runner was at when it crashed,
# PostgreSQL does not crash: runs are executed, and the log says once what is
# missing. The full file system comes from faults/no_room.c.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $library = "$PostgreSQL::Test::Utils::tmp_check/no_room.so";
system_or_bail('cc', '-shared', '-fPIC', '-o', $library,
	"$FindBin::Bin/../faults/no_room.c", '-ldl');
my $node = do
{
	local $ENV{LD_PRELOAD} = $library;
	new_node('main');
};
add_mock_server($node, start_mock('mock'));

is( $node->safe_psql('postgres', "CALL agno_run('x', model => 'mock:echo')")
	  =~ s/.*\|(COMPLETED)\|.*/$1/sr,
	'COMPLETED', 'a run is executed');
my $log = slurp_file($node->logfile);
unlike($log, qr/terminated by signal/, 'nothing crashes');
is(scalar(() = $log =~ /could not map file .*No space left/g),
	1, 'the log says once what is missing');

$node->stop;
done_testing();
