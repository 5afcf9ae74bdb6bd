# The statements of agno_bg are not compiled by JIT, in no process: they are short, and where
# the queue was large once, they are taken to be long, so each process that stores the end of
# a run lost a second by it. A trigger notes what it finds.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', conf => 'jit = on');
add_mock_server(start_mock('mock'));
make_user('app');
$node->safe_psql('postgres', q{
	CREATE TABLE seen (process text, jit text);
	CREATE FUNCTION note() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.seen SELECT backend_type, current_setting('jit') FROM pg_catalog.pg_stat_activity WHERE pid = pg_backend_pid();
		RETURN NEW; END $$;
	CREATE TRIGGER note BEFORE INSERT OR UPDATE ON agno.runs FOR EACH ROW EXECUTE FUNCTION note();
	ALTER TABLE agno.runs ENABLE ALWAYS TRIGGER note;
	CREATE FUNCTION done(r agno.runs) RETURNS void LANGUAGE sql AS ''});
as('app', q(CALL agno_run('x', model => 'mock:echo', on_complete => 'public.done')));
is(value(q(string_agg(DISTINCT process || ' ' || jit, ', ' ORDER BY process || ' ' || jit) FROM seen)),
	'agno_bg runner off, agno_bg tool worker off, client backend off', 'JIT is off in all of them');
is(as('app', 'SHOW jit'), 'on', 'but not for the user');

$node->stop;
done_testing();
