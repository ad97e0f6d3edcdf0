// The origin server of http-cache-tests, and its client, in one process. It says `origin PORT` when the origin listens, and then obeys lines on its
// standard input, each with a line of JSON:
//
//   run BASE [ID...]   runs all tests, or those, against the cache at BASE: [{id, kind, suite, name, result}]
//
// It ends with its standard input.
import http from 'node:http'
import readline from 'node:readline'

import fetch from 'node-fetch'

import * as config from 'http-cache-tests/client/config.mjs'
import { makeCacheTest, testResults } from 'http-cache-tests/client/test.mjs'
import handleConfig from 'http-cache-tests/server/handle-config.mjs'
import handleState from 'http-cache-tests/server/handle-state.mjs'
import handleTest from 'http-cache-tests/server/handle-test.mjs'
import suites from 'http-cache-tests/tests/index.mjs'

console.log = console.error // what the tests say goes where it does not meet the answers

const handlers = { config: handleConfig, state: handleState, test: handleTest }

const origin = http.createServer((request, response) => {
  const [first, ...rest] = new URL(request.url, 'http://origin/').pathname.split('/').slice(1)
  if (first in handlers) {
    handlers[first](rest, request, response)
    return
  }
  response.writeHead(404)
  response.end()
})

// Tests for browsers alone do not apply. What is left is what the results of other proxies are counted by.
function chosen (ids) {
  const all = []
  for (const suite of suites) {
    for (const test of suite.tests) {
      if (test.browser_only !== true && (ids.length === 0 || ids.includes(test.id))) {
        all.push({ suite: suite.id, test: structuredClone(test) }) // a run writes into it
      }
    }
  }
  return all
}

const together = 100 // as the runner of the package has it

async function run (base, ids) {
  config.setFetch(fetch)
  config.setBaseUrl(base)
  const all = chosen(ids)
  for (let i = 0; i < all.length; i += together) {
    const some = all.slice(i, i + together)
    some.forEach(({ test }) => delete testResults[test.id])
    await Promise.all(some.map(({ test }) => makeCacheTest(test)))
  }
  return all.map(({ suite, test }) => {
    const result = testResults[test.id]
    return { id: test.id, kind: test.kind ?? 'required', suite, name: test.name, result: result === true ? '' : result.join(': ') }
  })
}

origin.listen(0, '127.0.0.1', async () => {
  process.stdout.write(`origin ${origin.address().port}\n`)
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [, base, ...ids] = line.trim().split(' ')
    process.stdout.write(JSON.stringify(await run(base, ids)) + '\n')
  }
  process.exit(0)
})
