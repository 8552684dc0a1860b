'use strict';
/*
 * Puts mail into an outtray spool (SPOOL.md) from Node.js 12 or later, without packages. Copy this file; it can be
 * required, and imported. License: Apache-2.0.
 *
 * submit(directory, message, name) writes message (a Buffer, or a string as UTF-8) into the spool of the tenant whose
 * directory that is, such as /var/spool/outtray/acme, and returns its name (a Buffer where one was given). When it has
 * returned, the message is on the disk and will not be lost. Where it throws nothing was accepted and nothing is left
 * behind; only where new/ cannot be synced may the message go out all the same. It waits for the disk: call it from a
 * worker where that matters.
 *
 * Usage:
 *   const { submit } = require('./outtray.js');
 *   submit(process.argv[2], require('fs').readFileSync(0), process.argv[3]);
 */

const crypto = require('crypto');
const fs = require('fs');
const os = require('os');

/** A name as maildir has them: time, process, random number, host. */
function makeName() {
    const host = os.hostname().replace(/[/:~\x00-\x20\x7f]/g, '_');
    return `${Math.floor(Date.now() / 1000)}.P${process.pid}R${crypto.randomBytes(8).toString('hex')}.${host}`;
}

/** Which names (strings or Buffers) a message may have. */
function nameIsValid(name) {
    const octets = Buffer.from(name);
    return octets.length > 0 && octets.length <= 200 && octets[0] !== 0x2e && octets.slice(-7).toString('latin1') !== '.status' &&
        octets.every((octet) => octet >= 32 && octet !== 127 && octet !== 0x2f);
}

function syncAndClose(fd) {
    try {
        fs.fsyncSync(fd);
    } finally {
        fs.closeSync(fd);
    }
}

function writeAndSync(path, message) {
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = fs.constants;
    const fd = fs.openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o640);
    let open = true;
    try {
        for (let done = 0; done < message.length;) done += fs.writeSync(fd, message, done);
        open = false;
        syncAndClose(fd);
    } catch (error) {
        if (open) fs.closeSync(fd);
        fs.unlinkSync(path);
        throw error;
    }
}

/** Returns the message's name once it is accepted; see above. */
function submit(directory, message, name = makeName()) {
    if (!nameIsValid(name)) throw new Error(`a message cannot have the name ${JSON.stringify(name.toString())}`);
    const path = (place) => Buffer.concat([Buffer.from(directory), Buffer.from(`/${place}/`), Buffer.from(name)]);
    const tmp = path('tmp');
    writeAndSync(tmp, Buffer.isBuffer(message) ? message : Buffer.from(message));
    try {
        fs.linkSync(tmp, path('new')); // fails where the name is taken
    } finally {
        fs.unlinkSync(tmp);
    }
    syncAndClose(fs.openSync(`${directory}/new`, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY)); // accepted
    return name;
}

module.exports = { submit, makeName, nameIsValid };
