# The recipes of doc/cookbook.md do what stands there: their SQL as an ordinary role with
# usage alone, with the output that is shown, apart from ids; the two programs that stream
# to a web page; and what is said of moving from Agno, with Agno's own package.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl";
use AgnoDocs;
use AgnoTest;
use HTTP::Tiny;
use IO::Socket::INET;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $url = start_mock('mock', '--script', "$FindBin::Bin/../mock/cookbook.json");
add_mock_server($url);
make_user('app', 'helpdesk', 'manager');
$node->safe_psql('postgres', qq(
	CREATE SERVER openai FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$url');
	CREATE USER MAPPING FOR PUBLIC SERVER openai OPTIONS (api_key 'sk-mock');
	GRANT USAGE ON FOREIGN SERVER openai TO PUBLIC;
	CREATE SCHEMA AUTHORIZATION app));

#-------------------------------------------------------------------------
# SQL
#-------------------------------------------------------------------------

my %recipes = sections(page('doc/cookbook.md'));
my $superuser = value('current_user');
my ($scripts, $shown) = (0, 0);
foreach my $recipe (grep { $_ !~ /^-/ } (sections(page('doc/cookbook.md')))[ map { 2 * $_ } 0 .. keys(%recipes) - 1 ])
{
	my @blocks = blocks($recipes{$recipe});

	foreach my $i (0 .. $#blocks)
	{
		my ($language, $how, $script) = @{ $blocks[$i] };
		my $output = $i < $#blocks && $blocks[ $i + 1 ][0] eq '' ? $blocks[ $i + 1 ][2] : '';

		next unless $language eq 'sql';
		$script =~ s/tomorrow 02:00/now/g;      # the test is not to last a night
		$script =~ s{http://127.0.0.1:11434/v1}{$url}g;
		$node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM agno.run_queue)')
		  if $how eq 'wait';
		my ($out, $err) = run_script($node, $script, '-U',
			$how =~ /^(?:helpdesk|manager)$/ ? $how : $how eq 'superuser' ? $superuser : 'app');
		$err =~ s/^psql:<stdin>:\d+: //mg;
		is(normal($out . $err), normal($output), "$recipe: the output is as shown");
		$scripts++;
		$shown++ if $output;
	}
}
cmp_ok($scripts, '>=', 11, 'the recipes have been executed');
cmp_ok($shown, '>=', 10, 'and their output compared');

#-------------------------------------------------------------------------
# A stream to a web page
#-------------------------------------------------------------------------

# Ask a server of the recipe, and see its streams.
sub try_stream
{
	my ($name, $port) = @_;
	my $http = HTTP::Tiny->new(timeout => 60);
	my $base = "http://127.0.0.1:$port/runs";
	my $question = join ' ', 'This is for', $name, 1 .. 20;

	wait_until("$name to listen", sub { $http->get("$base/none/events")->{status} == 404 });
	my $id = $http->post($base, { content => $question })->{content};

	# while it is written
	my (@pieces, @ids);
	my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port");
	print $socket "GET /runs/$id/events HTTP/1.0\r\n\r\n";
	while (<$socket>) { last if /^event: RunContent/; }
	is(run_status($id), 'RUNNING', "$name: pieces arrive while the run is running");
	close $socket;

	# all of it, and after a reconnect the rest
	my $all = $http->get("$base/$id/events")->{content};
	while ($all =~ /^id: (\d+)\nevent: (\w+)\ndata: (.*)\n\n/mg)
	{
		push @ids, $1;
		push @pieces, decode_json($3)->{content} if $2 eq 'RunContent';
	}
	is(join(',', @ids), join(',', 1 .. @ids), "$name: no event is missing or twice");
	is(join('', @pieces), "You said: $question", "$name: the pieces are the answer");
	like($all, qr/^event: RunCompleted\n[^\n]*\n\n\z/m, "$name: the stream ends with the run");
	my $rest = $http->get("$base/$id/events", { headers => { 'Last-Event-ID' => $ids[-3] } })->{content};
	is(join(',', $rest =~ /^id: (\d+)$/mg), "$ids[-2],$ids[-1]",
		"$name: after a reconnect, the rest is sent");

	# other ends
	my $failed = value("run_id FROM agno_arun('fails', model => 'mock:status-400')");
	wait_run($failed);
	is($http->get("$base/$failed/events")->{status}, 404,
		"$name: what is somebody else's is unknown");
	$failed = as('app', "SELECT run_id FROM agno_arun('fails', model => 'mock:status-400')");
	like($http->get("$base/$failed/events")->{content}, qr/^id: 2\nevent: RunError\n.*\n\n\z/m,
		"$name: a run that is not streamed has a start and an end");
}

my ($python_code) = map { $_->[2] } grep { $_->[0] eq 'python' } blocks($recipes{'A stream to a web page'});
my ($node_code) = map { $_->[2] } grep { $_->[0] eq 'js' } blocks($recipes{'A stream to a web page'});
my $dir = $PostgreSQL::Test::Utils::tmp_check;

# Start a program of the recipe, as app. Its answers take their time.
sub start_streamer
{
	my ($port, @command) = @_;
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGUSER} = 'app';
	local $ENV{PGDATABASE} = 'postgres';
	local $ENV{PORT} = $port;
	local $ENV{PGOPTIONS} = '-c agno_bg.default_model=mock:words-30';

	start_program(@command);
}

SKIP:
{
	my $python = install_python('drivers', split /\n/, page('test/interop/drivers/requirements.txt'));
	skip skipped('psycopg cannot be installed'), 1 if !$python;

	my $port = PostgreSQL::Test::Cluster::get_free_port();
	append_to_file("$dir/stream.py", $python_code);
	start_streamer($port, $python, "$dir/stream.py");
	try_stream('Python', $port);
}
SKIP:
{
	my $modules = install_npm('drivers');
	skip skipped('node-postgres cannot be installed'), 1 if !$modules;

	my $port = PostgreSQL::Test::Cluster::get_free_port();
	append_to_file("$modules/stream.mjs", $node_code);
	start_streamer($port, 'node', "$modules/stream.mjs");
	try_stream('Node', $port);
}

#-------------------------------------------------------------------------
# From Agno's background runs to SQL
#-------------------------------------------------------------------------

SKIP:
{
	my $python = install_agno(2, 'agno<3');
	skip skipped("Agno's own package cannot be installed"), 1 if !$python;

	my ($code) = map { $_->[2] } grep { $_->[0] eq 'python' }
	  blocks($recipes{"From Agno's background runs to SQL"});
	append_to_file("$dir/moving.py", $code);
	$node->safe_psql('postgres', 'GRANT CREATE ON DATABASE postgres TO app');
	local $ENV{DATABASE_URL} = 'postgresql+psycopg://app@/postgres?host=' . $node->host . '&port=' . $node->port;
	local $ENV{OPENAI_BASE_URL} = $url;
	local $ENV{OPENAI_API_KEY} = 'sk-x';
	local $ENV{AGNO_TELEMETRY} = 'false';
	my ($out, $err) = ('', '');
	IPC::Run::run([ $python, "$dir/moving.py" ], '<', '/dev/null', '>', \$out, '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	like($out, qr/^COMPLETED The capital of France is Paris\.\n18\n.*^True$/ms, "Agno: the program does what it says")
	  or diag($err);
}

$node->stop;
done_testing();
