# A run that ends when it is to be started, since it is cancelled or its server is not there
# any more, lets the next one of its session go ahead at once, though nothing else happens.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url);
add_mock_server($url, name => 'gone');
make_user('other');

# Cancels before the runs are there
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN');
$session->query_safe("SELECT agno_arun('x', model => 'mock:echo', session_id => 'one', run_id => 'one-$_')") foreach 1 .. 5;
as('postgres', "SELECT agno_cancel_run('one-$_')") foreach 1 .. 4;
$session->query_safe('COMMIT');
my $start = time;
expect_run('one-5', { status => 'COMPLETED' }, 'a run behind others that are cancelled is executed');
cmp_ok(time - $start, '<', 8, 'at once');
expect_run("one-$_", { status => 'CANCELLED' }, 'those are cancelled') foreach 1 .. 4;

# No server
$session->query_safe('SET client_min_messages = warning; BEGIN');
$session->query_safe("SELECT agno_arun('x', model => 'gone:echo', session_id => 'two', run_id => 'two-1')");
$session->query_safe("SELECT agno_arun('x', model => 'mock:echo', session_id => 'two', run_id => 'two-$_')") foreach 2, 3;
$session->query_safe('DROP SERVER gone CASCADE');
$session->query_safe('COMMIT');
expect_run('two-1', { status => 'ERROR' }, 'a run has no server any more');
expect_run("two-$_", { status => 'COMPLETED' }, 'and the next one of its session is executed') foreach 2, 3;
$session->quit;

$node->stop;
done_testing();
