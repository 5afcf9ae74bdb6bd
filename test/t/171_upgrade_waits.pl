# Until ALTER EXTENSION agno_bg UPDATE, the library stays away from the objects of 1.0 and
# says so once. The update waits for open transactions while other databases go on, refuses
# what it cannot do, with a way out, and leaves all as it was when it fails or is rolled
# back. Sessions that were there before go on after it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock');
my $update = 'ALTER EXTENSION agno_bg UPDATE';

$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE admin SUPERUSER LOGIN;
	CREATE DATABASE old');
$node->safe_psql('old', "CREATE EXTENSION agno_bg VERSION '1.0'; SELECT agno_grant_usage('app')");
add_mock_server($url, database => $_) foreach qw(postgres old);
wait_until('the line in the log', sub {
	logged(qr/executes no runs in database "old"/) });

# What psql tells of a statement that fails.
sub error_of
{
	my ($sql, @params) = @_;
	my ($ret, undef, $err) = $node->psql('old', $sql, @params);

	isnt($ret, 0, "this fails: $sql");
	return $err;
}

# All objects of the extension, with its version and their owners.
sub objects
{
	return $node->safe_psql('old', q{
		SELECT x.extversion, pg_describe_object(d.classid, d.objid, 0),
			coalesce(c.relowner, p.proowner)::regrole
		FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
		LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
		LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
		WHERE d.refclassid = 'pg_extension'::regclass AND x.extname = 'agno_bg'
		ORDER BY 2});
}

my $before = objects();
my $session = $node->background_psql('old', on_error_stop => 0,
	extra_params => [ '-U', 'app' ]);
is($session->query("PREPARE output AS SELECT count(*) FROM agno_get_run_output('x');
		SELECT agno_arun('x', model => 'mock:echo'); EXECUTE output"),
	0, 'what needs no library can be called');
like($session->{stderr},
	qr/"agno_bg" is of version 1\.0, its library of version 1\.1.*HINT:  Run ALTER EXTENSION agno_bg UPDATE/s,
	'agno_arun says what to do');
$session->{stderr} = '';

# Refused
$node->safe_psql('old', 'CREATE VIEW mine AS SELECT hour, runs FROM agno.stats');
like(error_of($update),
	qr/DETAIL:  view public\.mine depends on view agno\.stats\nHINT:  Drop them, update, and create them again/,
	'a view of a user that uses what is replaced is named');
$node->safe_psql('old', 'DROP VIEW mine');
$session->query_safe('BEGIN; SELECT count(*) FROM agno.agents');
like(error_of("SET lock_timeout = '100ms'; $update"),
	qr/canceling statement due to lock timeout/,
	'a transaction that has read agno.agents is waited for');
$session->query_safe('COMMIT');
is( $node->safe_psql('old', "BEGIN; SET LOCAL search_path = public, agno; SET ROLE admin; $update;
		SHOW search_path; SHOW role; SELECT (agno_arun('x', model => 'mock:echo')).status; ROLLBACK"),
	"public, agno\nadmin\nPENDING", 'the transaction of the update can go on');
is(objects(), $before, 'all is as it was before');

# Waiting
$session->query_safe('BEGIN; SELECT count(*) FROM agno.agents');
my $updating = $node->background_psql('old', extra_params => [ '-U', 'admin' ]);
$updating->query_until(qr/go/, "\\echo go
$update;
\\echo done
");
$node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_stat_activity
	WHERE query = '$update;' AND wait_event_type = 'Lock'")
  or die 'the update does not wait';
enqueue('x', 'echo');
expect_run('x', { status => 'COMPLETED' }, 'while it waits, other databases go on');
is(logged(qr/executes no runs in database "old"/), 1,
	'the log has said once that runs wait');
$session->query_safe('COMMIT');
$updating->query_until(qr/done/, "\n");
$updating->quit;
unlike(objects(), qr/admin/, 'another superuser leaves all to one owner');
like(objects(), qr/^1\.1\|/, 'of the new version');

is($session->query('EXECUTE output'), 0, 'a prepared statement goes on');
like($session->query("SELECT agno_arun('x', model => 'mock:echo', run_id => 'x')"),
	qr/PENDING/, 'and so does the session that could not enqueue');
$session->quit;
expect_run('x', { status => 'COMPLETED' }, 'its run is executed', database => 'old');

# Without the library
$node->safe_psql('old', "DROP EXTENSION agno_bg CASCADE; CREATE EXTENSION agno_bg VERSION '1.0'");
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
like(error_of($update), qr/has not loaded the library of agno_bg 1\.1\nHINT:  .*restart/,
	'where the library of 1.1 is not loaded, the update says so');
$node->stop;
done_testing();
