// npm's oidc-provider, and npm's smtp-server doing XOAUTH2 with the very tokens that it issued.
// Reads its settings as JSON from the file named by the first argument:
//   {port, smtpPort, certificate, key, clients: [metadata], lifetime, delegates: {mailbox: login}, mail: directory, events: file}
// Appends a line of JSON to `events` for each grant, refusal and login, stores mail as server.js does, and prints "ready"
// when both listen. Scope `mail` is what lets an access token send.
import fs from 'node:fs';
import path from 'node:path';
import Provider from 'oidc-provider';
import smtp from 'smtp-server';

const settings = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const issuer = `http://127.0.0.1:${settings.port}`;
let serial = 0;

function note(event, more = {}) {
    fs.appendFileSync(settings.events, JSON.stringify({ event, ...more }) + '\n');
}

const provider = new Provider(issuer, {
    clients: settings.clients,
    scopes: ['openid', 'email', 'offline_access', 'mail'],
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    conformIdTokenClaims: false, // the e-mail goes into the id_token, as it does at Google and Microsoft
    findAccount: async (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id, email: id, email_verified: true }) }),
    pkce: { required: () => true, methods: ['S256'] },
    rotateRefreshToken: true,
    issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
    clientAuthMethods: ['none', 'client_secret_post', 'private_key_jwt'],
    features: {
        devInteractions: { enabled: true },
        deviceFlow: { enabled: true },
        clientCredentials: { enabled: true },
        revocation: { enabled: true },
    },
    ttl: { AccessToken: settings.lifetime, ClientCredentials: settings.lifetime, AuthorizationCode: 600, DeviceCode: 600,
        RefreshToken: 90 * 86400, IdToken: 3600, Interaction: 3600, Session: 3600, Grant: 90 * 86400 },
    cookies: { keys: ['only for a test'] },
});
for (const event of ['grant.success', 'grant.error', 'grant.revoked']) {
    provider.on(event, (ctx, error) => {
        const body = ctx?.oidc?.body || ctx?.oidc?.params || {};
        note(event, { grant: body.grant_type, client: body.client_id, error: event === 'grant.error' ? error?.error : undefined });
    });
}

function fault(code, text) {
    const error = new Error(text);
    error.responseCode = code;
    return error;
}

// Whose mail the token may send: undefined where it counts no more.
async function mayLogin(user, text) {
    const token = await provider.AccessToken.find(text);
    if (token) {
        const login = settings.delegates[user] || user;
        return token.isValid && token.accountId === login && token.scope.split(' ').includes('mail');
    }
    const app = await provider.ClientCredentials.find(text);
    return Boolean(app && app.isValid && app.scope && app.scope.split(' ').includes('mail'));
}

const mta = new smtp.SMTPServer({
    name: 'mx.interop.example',
    cert: fs.readFileSync(settings.certificate),
    key: fs.readFileSync(settings.key),
    size: 50 * 1024 * 1024,
    authMethods: ['XOAUTH2'],
    disableReverseLookup: true,
    onAuth(auth, session, done) {
        mayLogin(auth.username, auth.accessToken).then((right) => {
            note('login', { user: auth.username, right });
            if (!right) {
                return done(null, { data: { status: '401', schemes: 'bearer', scope: 'mail' } });
            }
            return done(null, { user: auth.username });
        }, done);
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
});

mta.on('error', (error) => console.log(error.message));
provider.listen(settings.port, '127.0.0.1', () => {
    mta.listen(settings.smtpPort, '127.0.0.1', () => console.log('ready'));
});
