# What the TAP tests share: a server with the extension, and a mock model
# server to talk to.

package AgnoTest;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use IO::Socket::INET;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(new_node start_mock stop_mock start_nginx start_npm
  add_mock_server
  mock_log mock_requests mock_count make_certificate wait_until wait_run run_status runner_pid
  is_up);

my %mocks;
my @servers;

# A running server with the library preloaded and, unless told otherwise, the
# extension in the database postgres. What tests send may hold keys, so
# statements are not logged.
sub new_node
{
	my ($name, %params) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '-E', 'UTF8', '--no-locale' ],
		%{ $params{init} // {} });
	$node->append_conf(
		'postgresql.conf', qq(
shared_preload_libraries = 'agno_bg'
log_statement = none
log_line_prefix = '%m [%p] %b '
max_prepared_transactions = 5
fsync = on
restart_after_crash = on
));
	$node->append_conf('postgresql.conf', $params{conf}) if $params{conf};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION agno_bg')
	  unless $params{no_extension};
	return $node;
}

# Start a mock model server. Returns its base URL.
sub start_mock
{
	my ($name, @arguments) = @_;
	my $base = "$PostgreSQL::Test::Utils::tmp_check/$name";
	my $scheme = (grep { $_ eq '--tls-cert' } @arguments) ? 'https' : 'http';

	unlink "$base.port";
	my $mock = IPC::Run::start(
		[
			'python3', "$FindBin::Bin/../mock/model_server.py",
			'--port-file', "$base.port", '--log', "$base.log", @arguments
		],
		'<', '/dev/null',
		'>', "$base.out",
		'2>&1');
	$mocks{$name} = { process => $mock, log => "$base.log" };
	wait_until("mock $name", sub { -s "$base.port" });
	my $port = slurp_file("$base.port");
	chomp $port;
	$mocks{$name}->{port} = $port;
	return "$scheme://127.0.0.1:$port/v1";
}

sub stop_mock
{
	my ($name) = @_;
	my $mock = delete $mocks{$name} or return;
	$mock->{process}->kill_kill;
	return $mock->{port};
}

# Start nginx with this server block, which listens at PORT. Returns the port, or
# nothing if there is no nginx. Its log is access.log in the test's folder: for
# each request the number of the connection, the protocol and the status.
sub start_nginx
{
	my ($block) = @_;
	my ($nginx) = grep { -x } qw(/usr/sbin/nginx /usr/bin/nginx);
	my $dir = $PostgreSQL::Test::Utils::tmp_check;
	my $port;

	return unless $nginx;
	$port = PostgreSQL::Test::Cluster::get_free_port();
	$block =~ s/PORT/$port/g;
	append_to_file(
		"$dir/nginx.conf", qq(
daemon off;
pid $dir/nginx.pid;
error_log $dir/nginx.err;
events { worker_connections 2048; }
http {
	log_format connections '\$connection \$server_protocol \$status';
	access_log $dir/access.log connections;
	client_body_temp_path $dir/body;
	proxy_temp_path $dir/proxy;
	fastcgi_temp_path $dir/fastcgi;
	uwsgi_temp_path $dir/uwsgi;
	scgi_temp_path $dir/scgi;
	keepalive_requests 1000000;
	server { $block }
}
));
	push @servers,
	  IPC::Run::start([ $nginx, '-c', "$dir/nginx.conf" ],
		'<', '/dev/null', '>', "$dir/nginx.out", '2>&1');
	wait_until('nginx', sub { -s "$dir/nginx.pid" });
	return $port;
}

# Start a server of an npm package that test/interop/$package pins, and wait until
# it listens at the port. Returns its process, or nothing when it cannot be had
# here.
sub start_npm
{
	my ($package, $port, @command) = @_;
	my $dir = "$PostgreSQL::Test::Utils::tmp_check/$package";
	my $interop = "$FindBin::Bin/../interop/$package";

	if (!-d $dir)
	{
		mkdir $dir;
		system("cp $interop/package*.json $dir && cd $dir && "
			  . "npm ci --no-fund --no-audit --cache $dir/cache "
			  . ">npm.log 2>&1") == 0
		  or return;
	}
	$command[0] = "$dir/node_modules/.bin/$command[0]";
	push @servers,
	  IPC::Run::start(\@command, '<', '/dev/null', '>', "$dir/out", '2>&1');
	wait_until($command[0], sub {
		IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") });
	return $servers[-1];
}

# Make the mock the model server "mock" of a database, for everybody.
sub add_mock_server
{
	my ($node, $url, %params) = @_;
	my $database = $params{database} // 'postgres';
	my $options = $params{options} // '';

	$node->safe_psql(
		$database, qq(
		CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg
			OPTIONS (api 'openai-responses', base_url '$url' $options);
		CREATE USER MAPPING FOR PUBLIC SERVER mock
			OPTIONS (api_key 'sk-mock');
		GRANT USAGE ON FOREIGN SERVER mock TO PUBLIC));
}

# What the mock has logged so far, as a list of hashes.
sub mock_log
{
	my ($name) = @_;
	return () unless -e $mocks{$name}->{log};
	return map { JSON::PP::decode_json($_) }
	  grep { /\}$/ } split /\n/, slurp_file($mocks{$name}->{log});
}

# The requests with this input, or all.
sub mock_requests
{
	my ($name, $input) = @_;
	return grep {
		$_->{event} eq 'request'
		  && $_->{method} eq 'POST'
		  && (!defined $input || ($_->{body}{input}[-1]{content} // '') eq $input)
	} mock_log($name);
}

# How many requests with this input there have been, without reading them all.
sub mock_count
{
	my ($name, $input) = @_;
	return 0 unless -e $mocks{$name}->{log};
	return scalar(
		() = slurp_file($mocks{$name}->{log}) =~
		  /"event": "request".*"content": "\Q$input\E"/g);
}

# Make a certificate for 127.0.0.1 that certifies itself: cert.pem and key.pem in
# the test's folder.
sub make_certificate
{
	my $dir = $PostgreSQL::Test::Utils::tmp_check;
	my @command = (
		'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days',
		'2', '-keyout', "$dir/key.pem", '-out', "$dir/cert.pem", '-subj',
		'/CN=mock', '-addext', 'subjectAltName=IP:127.0.0.1');

	system("@command 2>$dir/openssl.log") == 0 or die 'openssl failed';
}

# Wait for a condition; give up after three minutes.
sub wait_until
{
	my ($what, $condition) = @_;
	my $give_up = time + $PostgreSQL::Test::Utils::timeout_default;

	until ($condition->())
	{
		die "timed out waiting for $what" if time > $give_up;
		usleep(20_000);
	}
	return 1;
}

sub run_status
{
	my ($node, $run_id, $database) = @_;
	return $node->safe_psql($database // 'postgres',
		"SELECT status FROM agno_get_run_output('$run_id')");
}

# Wait until a run has ended. Returns its status.
sub wait_run
{
	my ($node, $run_id, $database) = @_;
	my $timeout = $PostgreSQL::Test::Utils::timeout_default;

	return $node->safe_psql($database // 'postgres',
		"SELECT status FROM agno_wait_run('$run_id', '$timeout s')");
}

# Whether the server accepts connections. (To write to a psql that has given up
# already would be the end of a test.)
sub is_up
{
	my ($node) = @_;
	return IPC::Run::run(
		[ 'pg_isready', '-q', '-h', $node->host, '-p', $node->port ]);
}

# The process of the runner of a database; waits until there is one.
sub runner_pid
{
	my ($node, $database) = @_;
	$database //= 'postgres';
	my $query = "SELECT pid FROM pg_stat_activity "
	  . "WHERE backend_type = 'agno_bg runner' AND datname = '$database'";
	my $pid;

	wait_until("the runner of $database",
		sub { $pid = $node->safe_psql('template1', $query) });
	return $pid;
}

END
{
	my $status = $?;
	stop_mock($_) foreach keys %mocks;
	$_->kill_kill foreach @servers;
	$? = $status;
}

1;
