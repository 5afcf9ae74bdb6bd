# A session that restores a dump keeps runs from being executed. One that may not copy into
# our tables does not, though it has the right to insert. The fault is a role that tries.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', 'CREATE ROLE writer LOGIN; GRANT pg_write_all_data, pg_read_server_files TO writer');
my $pid = runner_pid();
my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'writer' ]);
my $said = $session->query("COPY agno.runs FROM '/dev/null';\n\\echo :SQLSTATE");
like($said, qr/0A000/, 'who is under the policies of a table cannot copy into it');
enqueue('while', 'echo', role => 'app');
is(wait_run('while'), 'COMPLETED', 'runs are executed while its session is there');
is(runner_pid(), $pid, 'by the runner that was there');
is(logged(qr/executes no runs in database/), 0, 'and nobody is told otherwise');
$session->quit;
$node->stop;
done_testing();
