"""browser.py PICTURE URL [PLAYLIST]: a headless Chromium opens a page, and plays a playlist in it.

Prints JSON: the page's title and the text that it shows; with a playlist, what became of the <video> element. Takes a
picture of the window. Certificates are not checked; HTTP logins go before the host in the URL.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

PLAY_SECONDS = 4
PATIENCE_SECONDS = 200

PLAYER = """
document.title = arguments[0];
document.body.innerHTML = "<h1></h1><video muted autoplay playsinline width=640 height=360></video>";
document.querySelector("h1").textContent = arguments[0];
document.querySelector("video").src = arguments[0];
"""
SEEN = """
const video = document.querySelector("video"), quality = video.getVideoPlaybackQuality();
return {seconds: video.currentTime, width: video.videoWidth, height: video.videoHeight,
        frames: quality.totalVideoFrames, error: video.error && video.error.message};
"""


def main() -> None:
    picture, url, *playlist = sys.argv[1:]
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    options.accept_insecure_certs = True
    with tempfile.TemporaryDirectory() as profile:
        for argument in (
            # It runs as root, without a screen, and must not look for anything but the page.
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--window-size=1280,900", f"--user-data-dir={profile}",
        ):  # fmt: skip
            options.add_argument(argument)
        browser = Chrome(options, Service("/usr/bin/chromedriver"))
        try:
            browser.get(url)
            found: dict[str, Any] = {"title": browser.title, "text": browser.find_element(By.TAG_NAME, "body").text}
            if playlist:
                browser.execute_script(PLAYER, playlist[0])
                found["video"] = seen = browser.execute_script(SEEN)
                deadline = time.monotonic() + PATIENCE_SECONDS
                while seen["seconds"] < PLAY_SECONDS and time.monotonic() < deadline:
                    time.sleep(0.5)
                    found["video"] = seen = browser.execute_script(SEEN)
            browser.save_screenshot(picture)
        finally:
            browser.quit()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
