// SPDX-License-Identifier: Apache-2.0
// Driver for @parse/node-apn: one provider a connection, as many sends in flight on each as asked for. The contract: ../README.md.
'use strict';
const fs = require('fs');
const { parseArgs } = require('util');
const apn = require('@parse/node-apn');

// The throw-away certificate lacks the extensions by which Apple marks an environment; this client asks for one when the address is not
// Apple's.
require('@parse/node-apn/lib/credentials/certificate/APNCertificate').prototype.environment =
  () => ({ sandbox: true, production: true });

const names = ['endpoint', 'ca', 'cert', 'key', 'topic', 'tokens', 'payload', 'requests', 'connections', 'streams'];
const { values } = parseArgs({ options: Object.fromEntries(names.map(name => [name, { type: 'string' }])) });

const colon = values.endpoint.lastIndexOf(':');
const tokens = fs.readFileSync(values.tokens, 'utf8').split('\n').filter(line => line !== '');
const payload = JSON.parse(fs.readFileSync(values.payload, 'utf8'));
const requests = Number(values.requests);
const connections = Number(values.connections);
const streams = Number(values.streams);

let next = 0;
let accepted = 0;

async function sendInTurn(provider, budget) {
  while (budget.left > 0) {
    budget.left -= 1;
    const notification = new apn.Notification({ mdm: payload.mdm });
    notification.topic = values.topic;
    notification.pushType = 'mdm';
    notification.priority = 10;
    const result = await provider.send(notification, tokens[next++ % tokens.length]);
    accepted += result.sent.length;
    for (const failed of result.failed) {
      if (failed.error) throw failed.error;
    }
  }
}

async function main() {
  const providers = [];
  const sending = [];
  for (let c = 0; c < connections; c++) {
    const provider = new apn.Provider({
      cert: values.cert,
      key: values.key,
      ca: [values.ca],
      address: values.endpoint.slice(0, colon),
      port: Number(values.endpoint.slice(colon + 1)),
      production: true,
      requestTimeout: 60000,
    });
    providers.push(provider);
    const budget = { left: Math.floor(requests / connections) + (c < requests % connections ? 1 : 0) };
    for (let s = 0; s < streams; s++) sending.push(sendInTurn(provider, budget));
  }
  await Promise.all(sending);
  const socket = providers[0].client.session && providers[0].client.session.socket;
  const cipher = socket && socket.getCipher ? socket.getCipher().standardName : null;
  for (const provider of providers) provider.shutdown();
  console.log(JSON.stringify({ accepted, cipher }));
  process.exit(0);
}

main().catch(error => {
  console.error('node-apn-driver:', error);
  process.exit(1);
});
