#!/usr/bin/env bash
# oidc-provider 9.13.3 sends no logout token to a loopback or private address (127.0.0.0/8, 10.0.0.0/8, 192.168.0.0/16, ...): a receiver
# inside the same cluster or network is never told of a logout. Nobody sees it who does not listen to the event "backchannel.error":
# nothing is logged, and the user is told that the logout is done. A "fetch" in the configuration that leaves the option "dispatcher"
# out has it sent.
#
# Seen, with a receiver on 127.0.0.1 and Client.backchannelLogout, which logging out calls for each client:
#   by default                    0 logout tokens received; "hostname resolves to a special-use IP address"
#   with a fetch without options  1 logout token received
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --ignore-scripts oidc-provider@9.13.3 >/dev/null
cat >try.mjs <<'END'
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

let received = 0;
const receiver = createServer((request, response) => { received += 1; request.resume(); response.end(); });
await new Promise((done) => receiver.listen(0, '127.0.0.1', done));
const client = {
  client_id: 'shop', client_secret: 'of-the-shop', redirect_uris: ['http://127.0.0.1:1/cb'],
  backchannel_logout_uri: `http://127.0.0.1:${receiver.address().port}/logout`,
};
async function attempt(what, settings) {
  received = 0;
  const provider = new Provider('http://127.0.0.1:1', { clients: [client], features: { backchannelLogout: { enabled: true } }, ...settings });
  let said = 'no error';
  const shop = await provider.Client.find('shop');
  await shop.backchannelLogout('alice', 'a-session').catch((error) => { said = error.cause?.message ?? error.message; });
  console.log(`${what}: ${received} received; ${said}`);
  return received;
}
const byDefault = await attempt('by default', {});
const without = await attempt('with a fetch without dispatcher', { fetch: (url, { dispatcher, ...options }) => fetch(url, options) });
process.exit(byDefault === 0 && without === 1 ? 0 : 1);
END
node try.mjs 2>/dev/null
