# The time of a run at its tools passes while the server is down, after a crash in which its
# runner was at another run: its calls are made anew, for it has another attempt. The
# runner's note of what it was at (blame.c) is written here, as if the crash had come then.
# Waits: for the time of a run.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_node('main');
add_mock_server(start_mock('mock'));
$node->safe_psql('postgres', q(
	CREATE FUNCTION naps() RETURNS text LANGUAGE sql AS 'SELECT pg_sleep(2)::text || $$rested$$';
	INSERT INTO agno.agents (agent_id, model, tools, timeout) VALUES ('naps', 'mock:tools', '{naps}', '4 s')));
enqueue('late', 'mock:tools', agent_id => 'naps', input => '{"calls": [[{"name": "naps", "arguments": {}}]]}');
enqueue('culprit', 'mock:hang');
ok($node->poll_query_until('postgres', q(SELECT state = 't' FROM agno.run_queue WHERE run_id = 'late')),
	'it is at its tools');
my $due = value("ceil(extract(epoch FROM run_at)) FROM agno.run_queue WHERE run_id = 'late'");
$node->stop('immediate');

my ($note) = glob($node->data_dir . '/pg_stat_tmp/agno_bg_*_0');
open(my $file, '+<', $note) or die "$note: $!";
print $file "\1culprit\0";
close $file;
wait_until('the end of its time', sub { time > $due });
$node->start;
expect_run('late', { status => 'COMPLETED', content => qr/rested/ }, 'its tool is called again');
is(value("count(*) FROM agno.tool_calls WHERE run_id = 'late' AND status = 'completed'"), 1, 'once');
$node->safe_psql('postgres', q(SELECT agno_cancel_run('culprit')));

$node->stop;
done_testing();
