# Many families are old enough to be deleted at once: others are served meanwhile. What is
# looked at, and deleted, in a step grows with no family.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use List::Util qw(max);
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('boss');
# Families with so many children: the first is large, the last has one that has not ended.
$node->safe_psql('postgres', q(
	CREATE FUNCTION family(root text, children integer, at timestamptz) RETURNS void LANGUAGE sql AS $$
		INSERT INTO agno.sessions (session_id, owner, created_at, updated_at) SELECT root || i, 'boss', at, at FROM generate_series(0, children) i;
		INSERT INTO agno.runs (run_id, session_id, owner, model, model_provider, input, status, priority, parent_run_id, created_at, finished_at)
		SELECT root || i, root || i, 'boss', 'm', 'mock', 'x', 'COMPLETED', 0, CASE WHEN i > 0 THEN root || 0 END,
			at + i * interval '1 us', at + interval '1 h' FROM generate_series(0, children) i $$;
	SELECT family('large', 3000, '2020-01-01');
	SELECT count(family('f' || i || '-', 60, timestamptz '2020-02-01' + i * interval '1 min')) FROM generate_series(1, 500) i;
	SELECT family('young', 10, '2020-01-01');
	UPDATE agno.runs SET finished_at = now() WHERE run_id = 'young5';
	ANALYZE agno.runs));
my $cut = q(count(*) FROM agno.runs r WHERE run_id LIKE 'f%' AND parent_run_id IS NOT NULL
	AND NOT EXISTS (SELECT FROM agno.runs p WHERE p.run_id = r.parent_run_id));
my ($most, $parts) = (0, 0);
configure(retention => '30d');
my $start = time;
while (time - $start < 12)
{
	my $began = time;
	as('boss', q(CALL agno_run('x', model => 'mock:echo')));
	$most = max($most, time - $began);
	$parts += value($cut);
}
note($most);
cmp_ok($most, '<', 10, 'others are served meanwhile');
ok($node->poll_query_until('postgres', q(SELECT count(*) < 30000 FROM agno.runs WHERE run_id LIKE 'f%')), 'families are deleted');
is($parts, 0, 'as a whole');
is(value(q(count(*) FROM agno.runs WHERE run_id LIKE 'large%')), 0, 'but for a large one, which is deleted as well');
is(value(q(count(*) FROM agno.runs WHERE run_id LIKE 'young%')), 11, 'and one that is not old is kept');
$node->stop;
done_testing();
