<?php
/*
 * Puts mail into an outtray spool (SPOOL.md) from PHP 8.1 or later, without extensions. Copy this file.
 * License: Apache-2.0.
 *
 * Outtray::submit($directory, $message, $name = null) writes $message into the spool of the tenant whose directory that is,
 * such as /var/spool/outtray/acme, and returns its name. When it has returned, the message is on the disk and will not be
 * lost. Where it throws a RuntimeException nothing was accepted and nothing is left behind; only where new/ cannot be
 * synced may the message go out all the same. (PHP does not tell whether close(2) failed; after a successful fsync of a
 * local file nothing depends on it.)
 *
 * Usage:
 *   require __DIR__ . '/Outtray.php';
 *   Outtray::submit($argv[1], stream_get_contents(STDIN), $argv[2]);
 */

declare(strict_types=1);

final class Outtray
{
    /** A name as maildir has them: time, process, random number, host. */
    public static function makeName(): string
    {
        $host = preg_replace('#[/:~\x00-\x20\x7f]#', '_', (string) gethostname());
        return sprintf('%d.P%dR%s.%s', time(), getmypid(), bin2hex(random_bytes(8)), $host);
    }

    /** Which names a message may have. */
    public static function nameIsValid(string $name): bool
    {
        return preg_match('#^(?!\.)[^/\x00-\x1f\x7f]{1,200}$#D', $name) === 1 && substr($name, -7) !== '.status';
    }

    /** Returns the message's name once it is accepted; see above. */
    public static function submit(string $directory, string $message, ?string $name = null): string
    {
        $name ??= self::makeName();
        if (!self::nameIsValid($name)) {
            throw new RuntimeException("a message cannot have the name $name");
        }
        $tmp = "$directory/tmp/$name";
        $file = @fopen($tmp, 'x'); // fails where the name is taken
        if ($file === false) {
            throw self::failure("cannot make $tmp");
        }
        try {
            self::write($file, $tmp, $message);
            if (!@link($tmp, "$directory/new/$name")) { // likewise
                throw self::failure("cannot submit $directory/new/$name");
            }
        } finally {
            @unlink($tmp);
        }
        $new = @fopen("$directory/new", 'r');
        if ($new === false || !@fsync($new)) { // accepted once this has worked
            throw self::failure("cannot sync $directory/new");
        }
        fclose($new);
        return $name;
    }

    /** @param resource $file */
    private static function write($file, string $tmp, string $message): void
    {
        try {
            if (!@chmod($tmp, 0640)) {
                throw self::failure("cannot make $tmp");
            }
            stream_set_write_buffer($file, 0);
            for ($done = 0; $done < strlen($message); $done += $n) {
                $n = @fwrite($file, substr($message, $done, 1 << 20));
                if ($n === false || $n === 0) {
                    throw self::failure("cannot write $tmp");
                }
            }
            if (!@fsync($file)) {
                throw self::failure("cannot sync $tmp");
            }
        } finally {
            fclose($file);
        }
    }

    private static function failure(string $what): RuntimeException
    {
        $why = error_get_last()['message'] ?? '';
        return new RuntimeException($why === '' ? $what : "$what: $why");
    }
}
