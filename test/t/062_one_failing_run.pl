# One run that cannot be started makes no others go one by one: with a trigger
# that refuses it, two thousand runs beside it are started and stored in few
# transactions, and it ends in ERROR. After a turn that has failed, the runner
# does not spin for the runs that a model server has asked to wait.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => 'agno_bg.paused = on');
my $url = start_mock('mock');
add_mock_server($url);
refuse_updates("NEW.input = 'refused' AND NEW.status = 'RUNNING'",
	'this run is refused');
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 2000) i,
		agno_arun(CASE WHEN i = 300 THEN 'refused' ELSE 'run ' || i END,
			model => 'mock:echo', run_id => 'r' || i)));

configure(paused => 'off');
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 1999 FROM agno.runs WHERE status = 'COMPLETED'"),
	'all others complete');
is(wait_run('r300'), 'ERROR', 'the one that is refused ends in ERROR');
is(value("error->>'type' FROM agno.runs WHERE run_id = 'r300'"),
	'storage', 'of type storage');
cmp_ok(value('count(DISTINCT xmin::text) FROM agno.runs'),
	'<', 400, 'they are stored together');

# A server that wants to be left alone, and then a turn that fails
$node->safe_psql('postgres', q(
	SELECT agno_arun('first', model => 'mock:after-60000-429', run_id => 'first',
		timeout => '10 min')));
$node->poll_query_until('postgres',
	"SELECT attempt = 1 FROM agno.runs WHERE run_id = 'first'")
  or die 'the run does not start';
wait_until('the 429', sub { mock_count('mock', 'first') == 1 });
$node->safe_psql('postgres', q(
	SELECT count(*) FROM generate_series(1, 5) i,
		agno_arun('held ' || i, model => 'mock:echo')));
$node->poll_query_until('postgres',
	"SELECT count(*) >= 5 FROM agno.run_queue WHERE state = 'p'")
  or die 'no run waits for the server';
$node->safe_psql(
	'postgres', qq(
	CREATE SERVER other FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url '$url');
	CREATE USER MAPPING FOR PUBLIC SERVER other
		OPTIONS (api_key 'sk-other');
	SELECT agno_arun('refused', model => 'other:echo', run_id => 'again')));
is(wait_run('again'), 'ERROR', 'another run is refused');

cmp_ok(busy(runner_pid(), 3), '<', 0.16,
	'the runner does not spin while the server is left alone');

$node->stop;
done_testing();
