// npm's smtp-server as a counterpart: PIPELINING without CHUNKING, STARTTLS on one port and TLS on the other, AUTH.
// Reads its settings as JSON from the file named by the first argument:
//   {certificate, key, users: {name: password}, starttlsPort, tlsPort, mail: directory}
// Writes each message to mail/N.eml and then who it is from and for to mail/N.json, and prints "ready" when it listens.
'use strict';
const fs = require('fs');
const path = require('path');
const { SMTPServer } = require('smtp-server');

const settings = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
let serial = 0;

function fault(code, text) {
    const error = new Error(text);
    error.responseCode = code;
    return error;
}

const options = {
    name: 'mx.interop.example',
    cert: fs.readFileSync(settings.certificate),
    key: fs.readFileSync(settings.key),
    size: 50 * 1024 * 1024,
    authMethods: ['PLAIN', 'LOGIN'],
    disableReverseLookup: true,
    onAuth(auth, session, done) {
        if (settings.users[auth.username] === auth.password) {
            return done(null, { user: auth.username });
        }
        return done(fault(535, '5.7.8 Username and Password not accepted'));
    },
    onRcptTo(address, session, done) {
        return done(address.address.startsWith('refused.') ? fault(550, '5.1.1 no such user here') : null);
    },
    onData(stream, session, done) {
        const base = path.join(settings.mail, String(++serial));
        const out = fs.createWriteStream(base + '.eml');
        stream.pipe(out);
        stream.on('error', done);
        out.on('error', done);
        out.on('finish', () => {
            if (stream.sizeExceeded) {
                return done(fault(552, '5.3.4 message too big'));
            }
            const envelope = {
                from: session.envelope.mailFrom.address,
                to: session.envelope.rcptTo.map((recipient) => recipient.address),
                user: session.user,
                tls: session.secure,
            };
            fs.writeFileSync(base + '.new', JSON.stringify(envelope));
            fs.renameSync(base + '.new', base + '.json');
            return done(null, '2.0.0 Ok: queued as ' + serial);
        });
    },
};

const servers = [
    [new SMTPServer({ ...options, secure: false }), settings.starttlsPort],
    [new SMTPServer({ ...options, secure: true }), settings.tlsPort],
];
let waiting = servers.length;
for (const [server, port] of servers) {
    server.on('error', (error) => console.log(error.message));
    server.listen(port, '127.0.0.1', () => {
        if (--waiting === 0) {
            console.log('ready');
        }
    });
}
