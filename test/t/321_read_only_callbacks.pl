# A role only reads by default: the functions of its runs do, whatever they set. Those of
# another role write, though they set that for later.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main');
add_mock_server(start_mock('mock'));
make_user('reader', 'writer');
$node->safe_psql('postgres', q(
	CREATE TABLE told (run_id text);
	GRANT ALL ON told TO writer;
	CREATE FUNCTION frees(run_id text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		PERFORM set_config('default_transaction_read_only', 'off', false);
		PERFORM lo_create(0); END $$;
	CREATE FUNCTION binds(run_id text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO told VALUES (run_id);
		PERFORM set_config('default_transaction_read_only', 'on', false); END $$;
	ALTER ROLE reader SET default_transaction_read_only = on));
as('reader', q(SET default_transaction_read_only = off;
	SELECT agno_arun('x', model => 'mock:echo', run_id => 'reads', on_complete => 'public.frees')));
as('writer', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'writes', on_complete => 'public.binds')));
wait_run($_) foreach 'reads', 'writes';
is(value(q(error->>'sqlstate' FROM agno.runs WHERE run_id = 'reads')), '25006', 'what only reads does not write');
is(value('count(*) FROM pg_largeobject_metadata'), 0, 'indeed');
is(value(q(error IS NULL FROM agno.runs WHERE run_id = 'writes')), 't', 'what writes may set that for later');
is(value("string_agg(run_id, ',') FROM told"), 'writes', 'indeed');

$node->stop;
done_testing();
