# Two roles have runs for a server that has room for one: they take turns. Each answer takes
# longer than a run that is parked waits before it asks all the same; or each role has a key
# of its own.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
add_mock_server($url, name => 'narrow', options => ", max_concurrency '1'");
make_user('one', 'two', 'three');
$node->safe_psql('postgres', qq(
	CREATE SERVER keys FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$url', max_concurrency '1');
	GRANT USAGE ON FOREIGN SERVER keys TO one, two, three;
	CREATE USER MAPPING FOR one SERVER keys OPTIONS (api_key 'sk-1');
	CREATE USER MAPPING FOR two SERVER keys OPTIONS (api_key 'sk-2');
	CREATE USER MAPPING FOR three SERVER keys OPTIONS (api_key 'sk-3')));

# Both, or all three, have as many runs of this model: of the first that complete, each has
# about its part.
sub take_turns
{
	my ($name, $model, $count, @roles) = @_;

	as($_, "SELECT count(agno_arun('x', model => '$model', run_id => '$name-$_' || i)) FROM generate_series(1, $count) i") foreach @roles;
	ok($node->poll_query_until('postgres', "SELECT count(*) >= $count FROM agno.runs WHERE run_id ~ '^$name' AND status = 'COMPLETED'"), "$name: as many complete as each has");
	my @done = map { value("count(*) FROM agno.runs WHERE run_id ~ '^$name-$_' AND status = 'COMPLETED'") } @roles;
	note("$name: @done");
	cmp_ok($_, '>', $count / @roles / 2, "$name: of each role") foreach @done;
	$node->safe_psql('postgres', q(SELECT agno_cancel_run(run_id) FROM agno.runs WHERE finished_at IS NULL));
	return;
}

take_turns('long', 'narrow:slow-1300', 8, 'one', 'two');
take_turns('keys', 'keys:slow-100', 18, 'one', 'two', 'three');

$node->stop;
done_testing();
