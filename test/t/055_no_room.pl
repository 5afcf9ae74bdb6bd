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

my $node = new_node('main', fault => 'no_room');
add_mock_server(start_mock('mock'));

like($node->safe_psql('postgres', "CALL agno_run('x', model => 'mock:echo')"),
	qr/\|COMPLETED\|/, 'a run is executed');
is(logged(qr/terminated by signal/), 0,
	'no process crashes on a full file system');
is(logged(qr/could not map file .*No space left/), 1, 'the log says once what is missing');

$node->stop;
done_testing();
