"""The explorer in JupyterLab in a real browser: type, slide, read the words back.

A screenshot of what the browser shows is kept in runs/screenshots/explorer.png.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
SCREENSHOT = ROOT / "runs" / "screenshots" / "explorer.png"
CELL = "from clip_attribution import explorer, load_clip\n\nexplorer(load_clip())"
CAPTION = "a large blue heart on the grass"
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --disable-dev-shm-usage "
    "--window-size=1250,1100"
).split()
PATIENCE = 180  # seconds for anything that JupyterLab, its kernel or the explorer has to do

pytestmark = pytest.mark.slow
selenium = pytest.importorskip("selenium", reason="selenium is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A home of its own for server, kernel and browser, with one notebook in it."""
    home = tmp_path_factory.mktemp("lab")
    settings = home / "config" / "labconfig" / "default_setting_overrides.json"
    settings.parent.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    settings.write_text(json.dumps({"@jupyterlab/apputils-extension:notification": quiet}))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    (home / "notebooks").mkdir()
    nbformat.write(notebook, home / "notebooks" / "explorer.ipynb")
    return home


def environment(home: Path) -> dict:
    """The variables of the server: nobody's own Jupyter settings, and not headless."""
    names = ("CONFIG", "DATA", "RUNTIME")
    own = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in names}
    found = {k: v for k, v in os.environ.items() if k != "CLIP_ATTRIBUTION_HEADLESS"}
    return found | own | {"IPYTHONDIR": str(home / "ipython"), "PYTHONPATH": str(ROOT / "lib")}


@pytest.fixture(scope="module")
def address(folder):
    """The address of the notebook in a JupyterLab that runs as long as the tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [
        *(sys.executable, "-m", "jupyter", "lab"),
        "--no-browser",
        "--allow-root",
        "--expose-app-in-browser",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder / 'notebooks'}",
    ]
    base, query = f"http://127.0.0.1:{port}", f"?token={token}"
    with open(folder / "server.log", "wb") as log, running(command, environment(folder), log):
        wait_for(lambda: answers(f"{base}/api/status{query}"), folder / "server.log")
        yield f"{base}/lab/tree/explorer.ipynb{query}"


@contextmanager
def running(command, env, log):
    """A process with its children, which is ended in any case."""
    process = subprocess.Popen(
        command, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()  # the server ends its kernels
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def wait_for(condition, log: Path) -> None:
    """Wait until the condition holds; the end of the log says why it does not."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, log.read_text("utf-8", "replace")[-2000:]
        time.sleep(0.3)


def answers(url: str) -> bool:
    """Whether a server answers there."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def browser(folder):
    """Headless Chromium with a profile of its own."""
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium with its driver (Debian: apt install chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in (*OPTIONS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(option)
    service = webdriver.ChromeService(driver, log_output=str(folder / "driver.log"))
    started = webdriver.Chrome(options=options, service=service)
    try:
        started.set_page_load_timeout(PATIENCE)
        yield started
    finally:
        started.quit()


READY = """
const shown = window.jupyterapp && window.jupyterapp.shell.currentWidget;
const session = shown && shown.sessionContext && shown.sessionContext.session;
return Boolean(session && session.kernel && session.kernel.status === "idle");
"""
WORDS = """
const row = document.querySelector(".clip-explorer .clip-explorer-words");
return [...(row ? row.querySelectorAll("button") : [])].map(button => button.textContent);
"""


def words(browser) -> list[list[str]]:
    """(word, value) of every word that the explorer shows."""
    return [text.split("\n") for text in browser.execute_script(WORDS)]


def wait(browser, condition):
    """What `condition(browser)` returns as soon as it is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, PATIENCE, poll_frequency=0.2).until(condition)


def control(browser, label: str, inside: str):
    """An element of the control with this label."""
    path = f"//label[normalize-space()='{label}']/..//{inside}"
    return wait(browser, lambda b: b.find_element("xpath", path))


def button(browser, row: str, word: str):
    """The button of a word in one of the explorer's two rows."""
    path = f"//*[contains(@class, '{row}')]//button[starts-with(., '{word}\n')]"
    return wait(browser, lambda b: b.find_element("xpath", path))


def has(text: str):
    """A condition: the explorer shows this text."""
    return lambda b: text in b.find_element("css selector", ".clip-explorer").text


def changed(before):
    """A condition: the words' values are no longer those of `before`; gives the new ones."""
    return lambda b: (now := words(b)) and [w for w, _ in now] and now != before and now


def spell(caption: str):
    """A condition: these are the words that are shown; gives them with their values."""
    return lambda b: (now := words(b)) and [w for w, _ in now] == caption.split() and now


def test_explorer_in_jupyterlab(browser, address):
    from selenium.webdriver.common.keys import Keys

    browser.get(address)
    wait(browser, lambda b: b.execute_script(READY))
    browser.execute_script("window.jupyterapp.commands.execute('application:toggle-left-area')")
    browser.execute_script("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    wait(browser, words)

    caption = control(browser, "Caption", "input")
    caption.send_keys(Keys.CONTROL + "a")
    caption.send_keys(CAPTION)
    typed = wait(browser, spell(CAPTION))
    control(browser, "Last layers", "div[contains(@class, 'noUi-handle')]").send_keys(Keys.LEFT)
    moved = wait(browser, changed(typed))
    assert [word for word, _ in moved] == CAPTION.split()
    assert all(value[0] in "+-" and float(value) == float(value) for _, value in moved)

    button(browser, "clip-explorer-words", "blue").click()
    suggested = button(browser, "clip-explorer-foils", "pink")
    wait(browser, has("Regions of “blue”"))
    region = browser.find_elements("css selector", ".clip-explorer-cells button")[8]
    assert 20 < region.size["width"] == region.size["height"] < 40  # 8 × 8 over the image
    region.click()
    wait(browser, has("Words of row 2, column 1"))
    SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(SCREENSHOT))
    suggested.click()
    wait(browser, spell(CAPTION.replace("blue", "pink")))
