#!/usr/bin/perl
# Brings the upgrade script up to date with the script of the newest version: writes
# what is new or changed there between the lines BEGIN COPY and END COPY of the upgrade
# script, in the same order. A function or view that was there before is replaced, so
# that it keeps its privileges; if the upgrade script renames it, it is created anew with
# all that is said of it. What is around those lines is written by hand: all that changes
# tables, data, and what can not be replaced. --check changes nothing, and fails if there
# would be something to change. Once the newest version is released, so is the upgrade
# script, and it is not for this any more.

use strict;
use warnings;
use FindBin;

my $sql = "$FindBin::Bin/../sql";
my ($old, $new) = ('1.0', '1.1');
my $upgrade = "$sql/agno_bg--$old--$new.sql";

sub content
{
	my ($path) = @_;
	open my $file, '<', $path or die "$path: $!\n";
	local $/;
	return <$file>;
}

# The statements of a script, each with the comment above it.
sub statements
{
	my ($text) = @_;
	my $token = qr/(?> --[^\n]*\n | '(?:[^']|'')*' | "[^"]*" | (\$\w*\$).*?\g{-1}
		| BEGIN\ ATOMIC\n.*?\nEND(?=;) | [^;] )/xs;
	my @statements;

	$text =~ s/\A.*?\\quit\n//s;
	$text =~ s/^-{20,}\n-- .*\n-{20,}\n//mg;
	while ($text =~ /\G\s*(?=\S)((?:$token)*+;)/gc)
	{
		push @statements, $1;
	}
	$text =~ /\G\s*\z/gc
	  or die 'not understood: ' . substr($text, pos $text // 0, 60) . "\n";
	return @statements;
}

# A statement without what does not matter: comments, white space, and the schema of
# what is PostgreSQL's. The bodies of functions are kept as they are.
sub normal
{
	my ($statement) = @_;
	my @parts = split /(\$(\w*)\$.*?\$\2\$)/s, $statement;
	my $normal = '';

	while (@parts)
	{
		my ($code, $body, undef) = splice @parts, 0, 3;
		$code =~ s/--[^\n]*//g;
		$code =~ s/\bpg_catalog\.//g;
		$code =~ s/\s+/ /g;
		$normal .= $code . ($body // '');
	}
	return $normal =~ s/^ | $//gr;
}

# What a CREATE creates, as "FUNCTION name"; nothing for other statements.
sub created
{
	my ($normal) = @_;
	return '' unless $normal =~ /^CREATE (?:UNIQUE )?([A-Z ]+) ([\w.@]+)/;
	return "$1 $2";
}

# The name of the object that a statement is about, for those that may be renamed.
sub about
{
	my ($normal) = @_;
	return $1 if $normal =~ /^CREATE (?:FUNCTION|PROCEDURE|VIEW) ([\w.@]+)/;
	return $1 if $normal =~ /^(?:COMMENT|GRANT [\w, ]+|REVOKE [\w, ]+) ON (?:FUNCTION |PROCEDURE |VIEW )?([\w.@]+)/;
	return '';
}

my $script = content($upgrade);
my ($before, $after) = $script =~ /\A(.*^-- BEGIN COPY.*?\n)(?:.*)(^-- END COPY.*)\z/ms
  or die "$upgrade has no lines BEGIN COPY and END COPY\n";
my %anew = map { $_ => 1 }
  ($before . $after) =~ /^ALTER (?:FUNCTION|PROCEDURE|VIEW) ([\w.@]+)[^;]* RENAME TO/mg;
my (%old, %known);
foreach (map { normal($_) } statements(content("$sql/agno_bg--$old.sql")))
{
	$old{$_} = 1;
	$known{ created($_) } = 1 if created($_);
}

my $copy = '';
foreach my $statement (statements(content("$sql/agno_bg--$new.sql")))
{
	my $normal = normal($statement);
	my $created = created($normal);

	next if $old{$normal} && !$anew{ about($normal) };
	# tables are altered by hand
	next if $known{$created} && $created =~ /^(?:SCHEMA|TYPE|TABLE|FOREIGN) /;
	$statement =~ s/^CREATE (FUNCTION|PROCEDURE|VIEW)/CREATE OR REPLACE $1/m
	  if $known{$created};
	$copy .= "\n$statement\n";
}
my $updated = "$before$copy\n$after";

exit 0 if $updated eq $script;
if (@ARGV && $ARGV[0] eq '--check')
{
	print "sql/agno_bg--$new.sql has changes that sql/agno_bg--$old--$new.sql has not: execute $0\n";
	exit 1;
}
open my $file, '>', $upgrade or die "$upgrade: $!\n";
print $file $updated;
close $file or die "$upgrade: $!\n";
