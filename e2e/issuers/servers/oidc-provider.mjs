// oidc-provider with a user who is always logged in as whom the request names, and an API, "orders", whose access tokens are JWTs.
//
// usage: oidc-provider.mjs PORT KEYS_FILE LOGOUT_URI
// KEYS_FILE is a JWK set of private keys: the first one signs. It is made when it is not there; with ROTATE set, a new key is put first.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [port, keysFile, logoutURI] = process.argv.slice(2);
const installed = createRequire(join(process.env.OIDC_PROVIDER, 'package.json'));
const { default: Provider } = await import(pathToFileURL(installed.resolve('oidc-provider')));

const base = `http://127.0.0.1:${port}`;
const roles = { alice: ['admin', 'user'] };
// What an operator's own code would do: it knows its users, and which session a sid is of.
const disabled = new Set();
const sessions = new Map();

function keys() {
  const before = existsSync(keysFile) ? JSON.parse(readFileSync(keysFile)).keys : [];
  if (before.length === 0 || process.env.ROTATE) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    before.unshift({ ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' });
    writeFileSync(keysFile, JSON.stringify({ keys: before }), { mode: 0o600 });
  }
  return { keys: before };
}

const provider = new Provider(base, {
  jwks: keys(),
  cookies: { keys: [randomUUID()] },
  clients: [
    {
      client_id: 'shop', client_secret: 'of-the-shop', redirect_uris: [`${base}/cb`], post_logout_redirect_uris: [`${base}/bye`],
      grant_types: ['authorization_code', 'refresh_token'],
      backchannel_logout_uri: logoutURI, backchannel_logout_session_required: true,
    },
    {
      client_id: 'machine', client_secret: 'of-the-machine', redirect_uris: [], response_types: [],
      grant_types: ['client_credentials'],
    },
  ],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: {
      enabled: true,
      // no page to press a button on: the form sends itself in a browser, and the test does it by hand
      logoutSource: (ctx, form) => { ctx.body = form; },
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:orders',
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => ({
        scope: 'orders:read', audience: resource.replace('urn:', ''), accessTokenFormat: 'jwt',
        accessTokenTTL: 600, jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  scopes: ['openid', 'offline_access'],
  // The session in an access token is an option of one's own: the same sid that ID and logout tokens have.
  async extraTokenClaims(ctx, token) {
    if (token.kind !== 'AccessToken') return undefined;
    const session = await provider.Session.findByUid(token.sessionUid);
    const sid = session?.sidFor(token.clientId);
    if (sid) sessions.set(sid, session.uid);
    return { roles: roles[token.accountId] ?? ['user'], sid };
  },
  findAccount: (ctx, id) => (disabled.has(id) ? undefined : { accountId: id, claims: () => ({ sub: id }) }),
  async loadExistingGrant(ctx) {
    const grant = new provider.Grant({ accountId: ctx.oidc.session.accountId, clientId: ctx.oidc.client.clientId });
    grant.addOIDCScope('openid offline_access');
    for (const resource of ['urn:orders', 'urn:billing']) grant.addResourceScope(resource, 'orders:read');
    await grant.save();
    return grant;
  },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: async () => true,
  pkce: { required: () => false },
  // This machine is the only one there is: without this, nothing is sent to a loopback or private address.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
});

for (const event of ['server_error', 'backchannel.error', 'authorization.error', 'grant.error', 'end_session.error']) {
  provider.on(event, (ctx, err) => console.error(event, err));
}
provider.on('backchannel.success', (ctx, client) => console.error('backchannel.success', client.clientId));

const answer = provider.callback();
createServer(async (request, response) => {
  const [, area, what, name] = request.url.split('/');
  if (area === 'operator' && request.method === 'DELETE') {
    if (what === 'sessions') await (await provider.Session.findByUid(sessions.get(name))).destroy();
    else disabled.add(name);
    return response.end();
  }
  if (area !== 'interaction') return answer(request, response);
  const { params } = await provider.interactionDetails(request, response);
  return provider.interactionFinished(request, response, { login: { accountId: params.login_hint } });
}).listen(port, '127.0.0.1');
