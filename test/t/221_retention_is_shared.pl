# Deleting what is old leaves the runner to others half of the time, in pieces: a step has
# a time, and what takes longer is deleted with less at once, down to a part of what
# belongs to a run. A run that is to stay keeps all. Fault injected: a trigger of a
# superuser makes it slow to delete an event.

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
# Runs with so many events; one of each is held by a foreign key.
$node->safe_psql('postgres', q(
	CREATE FUNCTION old(name text, runs integer, events integer, at timestamptz) RETURNS void LANGUAGE sql AS $$
		INSERT INTO agno.runs (run_id, session_id, owner, model, model_provider, input, status, priority, created_at, finished_at)
		SELECT name || i, name || i, 'boss', 'm', 'mock', 'x', 'COMPLETED', 0, at + i * interval '1 us', at + interval '1 h' FROM generate_series(1, runs) i;
		INSERT INTO agno.run_events (run_id, seq, event, data, created_at) SELECT name || i, n, 'RunContent', '{}', at
		FROM generate_series(1, runs) i, generate_series(1, events) n $$;
	SELECT old('some', 12, 300, '2020-01-01'), old('held', 1, 1500, '2020-01-02'), old('large', 1, 2500, '2020-01-03'),
		old('light', 2000, 0, '2020-01-04');
	CREATE TABLE refers (run_id text COLLATE "C" REFERENCES agno.runs);
	INSERT INTO refers VALUES ('held1');
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_catalog.pg_sleep(0.001); RETURN old; END';
	CREATE TRIGGER slow BEFORE DELETE ON agno.run_events FOR EACH ROW EXECUTE FUNCTION slow();
	ANALYZE agno.runs));
configure(retention => '30d');
my ($most, $partly, $left) = (0, 0, 2014);
my $start = time;
while ($left > 1 && time - $start < 120)
{
	my $began = time;
	as('boss', q(CALL agno_run('x', model => 'mock:echo')));
	$most = max($most, time - $began);
	my $events = value(q(count(*) FROM agno.run_events WHERE run_id = 'large1'));
	$partly++ if $events > 0 && $events < 2500;
	$left = value(q(count(*) FROM agno.runs WHERE created_at < '2021-01-01'));
}
note("$most s, $partly times, ", time - $start, ' s');
is($left, 1, 'what is old is deleted');
cmp_ok($most, '<', 5, 'others are served meanwhile');
cmp_ok($partly, '>', 0, 'a large run is deleted in parts');
is(value(q(count(*) FROM agno.run_events)), 1500, 'one that is to stay keeps all that belongs to it');
is(logged(qr/canceling statement/), 0, 'the log has nothing of it');
$node->stop;
done_testing();
