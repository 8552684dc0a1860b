// Clicks through a consent page in headless Chromium, as a person would.
// Arguments: URL, user, password, directory of a profile. Prints one line of JSON: {url, text} of the page it ends at, which
// is the first one that is not the provider's (or that no server answers).
'use strict';
const { chromium } = require('playwright-core');

const [url, user, password, profile] = process.argv.slice(2);
const SECONDS = 30;

async function main() {
    const context = await chromium.launchPersistentContext(profile, {
        executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
        headless: true,
        chromiumSandbox: false,
        args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
            '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
            '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost'],
    });
    try {
        const page = context.pages()[0] || await context.newPage();
        page.setDefaultTimeout(SECONDS * 1000);
        const home = new URL(url).origin;
        let answer = null; // the first address elsewhere that the page itself was sent to
        const left = new Promise((resolve) => page.on('request', (request) => {
            if (request.isNavigationRequest() && request.frame() === page.mainFrame() && new URL(request.url()).origin !== home) {
                answer = answer || request.url();
                resolve();
            }
        }));
        await page.goto(url, { waitUntil: 'domcontentloaded' });
        while (!answer) {
            if (await page.locator('input[name=login]').count()) {
                await page.fill('input[name=login]', user);
                await page.fill('input[name=password]', password);
            }
            const next = page.waitForEvent('domcontentloaded');
            await page.locator('[type=submit]').first().click({ noWaitAfter: true });
            await Promise.race([next, left]);
        }
        await page.waitForLoadState('load').catch(() => undefined);
        await page.waitForURL((now) => now.origin !== home).catch(() => undefined);
        console.log(JSON.stringify({ url: answer, text: await page.locator('body').innerText().catch(() => '') }));
    } finally {
        await context.close();
    }
}

main().then(() => process.exit(0), (error) => {
    console.error(error.message);
    process.exit(1);
});
