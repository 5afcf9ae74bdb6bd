# Retention deletes the last run of a session while the session cannot go: a table of a DBA's
# refers to it, with rows that somebody has locked, or a run that is about to join it is rolled
# back, or it has been changed since. The run stays until then, and both go: no session is left
# for ever, also of those that nobody has locked.
# Waits: for retention, which comes round now and then.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main');
my $count = 100;
my $locked = 15;

add_mock_server(start_mock('mock'));
$node->safe_psql('postgres', qq(
	SELECT count(agno_arun('x', model => 'mock:echo', run_id => 'r-' || i, session_id => 's-' || i)) FROM generate_series(1, $count) i;
	SELECT count(agno_arun('x', model => 'mock:echo', session_id => id)) FROM unnest('{joined,changed,held}'::text[]) id));
wait_until('all to be done', sub { value('count(*) FROM agno.runs WHERE finished_at IS NULL') == 0 });
$node->safe_psql('postgres', qq(
	CREATE TABLE notes (session_id text COLLATE "C" REFERENCES agno.sessions ON DELETE CASCADE);
	CREATE INDEX ON notes (session_id);
	INSERT INTO notes SELECT session_id FROM agno.sessions WHERE session_id ~ '^s-';
	CREATE TABLE kept (session_id text COLLATE "C" REFERENCES agno.sessions);
	INSERT INTO kept VALUES ('held');
	UPDATE agno.sessions SET updated_at = clock_timestamp() + '1 h' WHERE session_id = 'changed'));

my ($locking, $joining) = map { $node->background_psql('postgres') } 1 .. 2;
$locking->query_safe("BEGIN; SELECT FROM notes WHERE session_id IN (SELECT 's-' || i FROM generate_series(1, $locked) i) FOR UPDATE");
$joining->query_safe(q(BEGIN; SELECT agno_arun('x', model => 'mock:echo', session_id => 'joined')));
configure(retention => '1 s');
wait_until('the others to be deleted', sub { value('count(*) FROM agno.runs') == $locked + 2 });
is(value('count(*) FROM agno.sessions'), $locked + 3, 'and their sessions with them');
is(value(q(string_agg(session_id, ' ' ORDER BY session_id) FROM agno.runs WHERE session_id !~ '^s-')), 'changed joined', 'a run goes without its session where a foreign key keeps that');

$_->query_safe('ROLLBACK') foreach $locking, $joining;
wait_until('those that are locked no more', sub { value('count(*) FROM agno.runs') == 1 });
is(value('string_agg(session_id, $$ $$ ORDER BY session_id) FROM agno.sessions'), 'changed held', 'go with their sessions');
$node->safe_psql('postgres', q(UPDATE agno.sessions SET updated_at = clock_timestamp() WHERE session_id = 'changed'));
wait_until('what has been changed', sub { value('count(*) FROM agno.runs') == 0 });
is(value('string_agg(session_id, $$ $$) FROM agno.sessions'), 'held', 'goes when that is long enough ago');

$_->quit foreach $locking, $joining;

# A session that is in use has very many old runs: that takes no longer for each of them.
# (They are put there by hand.)
$node->safe_psql('postgres', q(
	ALTER SYSTEM SET agno_bg.retention = '1 h';
	SELECT pg_reload_conf();
	SELECT agno_arun('x', model => 'mock:echo', session_id => 'busy');
	INSERT INTO agno.runs (run_id, session_id, status, finished_at, input, model, model_provider, owner, attempt, priority, created_at)
		SELECT 'b-' || i, 'busy', 'COMPLETED', now() - '2 h'::interval, 'x', 'echo', 'mock', 'postgres'::regrole, 1, 0,
			now() - '3 h'::interval + i * '1 ms'::interval FROM generate_series(1, 10000) i));
my $start = time;
replace_runner();
wait_until('the old ones to be deleted', sub { value('count(*) FROM agno.runs') == 1 });
note(sprintf('10,000 runs took %.1f s', time - $start));
cmp_ok(time - $start, '<', 10, 'soon');
is(value(q(count(*) FROM agno.sessions WHERE session_id = 'busy')), 1, 'the session stays');
$node->stop;
done_testing();
