# A role that may create servers takes the name of a built-in one: what others mean for
# the built-in server still goes there, unless the server is a superuser's or the
# database owner's.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoTest;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);

my $url = start_mock('meant');
my $other = start_mock('other');
$ENV{OPENAI_API_KEY} = 'sk-environment';
$ENV{OPENAI_BASE_URL} = $url;
my $node = new_node('main');
make_user('app', 'boss', 'lead');
$node->safe_psql('postgres', 'GRANT USAGE ON FOREIGN DATA WRAPPER agno_bg TO app, lead; GRANT app TO lead');

sub server
{
	my ($role, $name) = @_;
	as($role, "CREATE SERVER $name FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$other')");
}

# How many requests the other server has had, after a run of this role.
sub asked
{
	my ($role, $model) = @_;
	as($role, "CALL agno_run('x', model => '$model')");
	return scalar mock_requests('other');
}

server('app', 'openai');
is(asked('boss', 'openai:echo'), 0, 'a role without rights on it asks the built-in server');
is(asked('postgres', 'openai:echo'), 0, 'so does a superuser');
as('app', 'GRANT USAGE ON FOREIGN SERVER openai TO PUBLIC');
is(asked('boss', 'openai:echo'), 0, 'also when it has rights on the other');
is(asked('app', 'openai:echo'), 1, 'its owner asks it');
is(asked('lead', 'openai:echo'), 2, 'and who has the rights of the owner');
server('app', 'groq');
as('app', 'GRANT USAGE ON FOREIGN SERVER groq TO PUBLIC');
is(asked('boss', 'groq:echo'), 3, 'a name without a key in the environment is free');

# A server of that name that wants to be left alone is another one.
my $before = mock_requests('other');
as('app', "SELECT agno_arun('x', model => 'openai:after-60000-429', run_id => 'blocks')");
wait_until('the request', sub { mock_requests('other') > $before });
my $start = time;
as('boss', "CALL agno_run('x', model => 'openai:echo')");
cmp_ok(time - $start, '<', 30, 'a server that wants to be left alone does not block the built-in one');

# The built-in one needs no key where the environment says where it is.
as('app', q(SELECT agno_cancel_run('blocks')));
delete $ENV{OPENAI_API_KEY};
$node->restart;
$before = mock_requests('other');
is(asked('boss', 'openai:echo'), $before, 'nor does it take its place if that needs no key');

$node->safe_psql('postgres', 'ALTER SERVER openai OWNER TO postgres');
is(asked('boss', 'openai:echo'), $before + 1, 'a server of a superuser takes its place');
$node->safe_psql('postgres', 'ALTER SERVER openai OWNER TO app; ALTER DATABASE postgres OWNER TO app');
is(asked('boss', 'openai:echo'), $before + 2, 'and one of the owner of the database');
$node->stop;
done_testing();
