# Whose rights a runner has: those of the owner of the tables. A database whose owner has
# given it another session_authorization and role is served all the same; and an owner of
# the extension who is no superuser any more has no trigger executed as one.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('main', no_extension => 1);
my $url = start_mock('mock');
my $runner_gone = sub { my ($database) = @_; my $pid = runner_pid($database);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 10000)"); };
$node->safe_psql('postgres', q(CREATE ROLE dba LOGIN SUPERUSER; CREATE ROLE dbo LOGIN; CREATE ROLE app LOGIN; CREATE DATABASE theirs OWNER dbo));
foreach my $database ('postgres', 'theirs')
{
	$node->safe_psql($database, q(CREATE EXTENSION agno_bg; SELECT agno_grant_usage('app')), extra_params => [ '-U', 'dba' ]);
	add_mock_server($url, database => $database);
}

# A database with settings
$node->safe_psql('theirs', q(ALTER DATABASE theirs SET session_authorization = 'dbo'; ALTER DATABASE theirs SET role = 'dbo'), extra_params => [ '-U', 'dbo' ]);
$runner_gone->('theirs');
$node->safe_psql('theirs', q(SELECT agno_arun('x', model => 'mock:echo', run_id => 'x')), extra_params => [ '-U', 'app' ]);
is($node->safe_psql('theirs', q(SELECT status FROM agno_wait_run('x', '30 s')), extra_params => [ '-U', 'app' ]), 'COMPLETED',
	'a database whose owner gives it another user is served');

# An owner who is no superuser any more
$node->safe_psql('postgres', 'ALTER ROLE dba NOSUPERUSER; GRANT CREATE ON SCHEMA public TO dba');
$node->safe_psql('postgres', q(
	CREATE TABLE public.seen (who text, super text);
	CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.seen VALUES (current_user, current_setting('is_superuser'));
		RETURN NEW; END $$;
	CREATE TRIGGER see BEFORE UPDATE ON agno.runs FOR EACH ROW EXECUTE FUNCTION public.see()), extra_params => [ '-U', 'dba' ]);
$node->safe_psql('postgres', q(SELECT agno_arun('y', model => 'mock:echo', run_id => 'y')), extra_params => [ '-U', 'app' ]);
is(wait_run('y'), 'COMPLETED', 'a run of an extension whose owner is no superuser');
is(value(q(string_agg(DISTINCT who, ' ') FROM public.seen)), 'dba', 'its triggers have their owner\'s rights');
$node->stop;
done_testing();
