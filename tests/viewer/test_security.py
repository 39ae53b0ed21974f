"""Nobody but the person with the link may ask, from this machine, from our own page."""

import http.client
import json
from typing import Any

import pytest

from tests.viewer.conftest import TOKEN, Served
from tutelage.viewer.security import new_token


def asked(
    served: Served, path: str, *, method: str = "GET", body: Any = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=300)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    text = None if body is None else json.dumps(body)
    connection.request(method, path, body=text, headers=given)
    response = connection.getresponse()
    found = (response.status, dict(response.getheaders()), response.read().decode())
    connection.close()
    return found


def test_a_token_is_long_and_new_each_time() -> None:
    assert len({new_token() for _ in range(50)}) == 50
    assert len(new_token()) >= 40


def test_without_the_link_there_is_a_page_without_data_and_no_answer(served: Served) -> None:
    status, headers, page = asked(served, "/")
    assert status == 200
    assert "set-cookie" not in headers
    assert served.run.root.name not in page
    for path in ("/api/about", "/api/rows", "/api/export?format=jsonl", "/api/lost"):
        status, _, text = asked(served, path)
        assert status == 401, path
        assert "tutelage view" in text
    assert asked(served, "/api/about", cookie=f"tutelage_{served.port}=wrong")[0] == 401
    assert asked(served, "/api/about", cookie=f"tutelage_{served.port}=")[0] == 401
    assert asked(served, "/?token=wrong")[1].get("set-cookie") is None


def test_the_link_gives_a_cookie_that_no_script_and_no_other_site_can_use(served: Served) -> None:
    _, headers, page = asked(served, f"/?token={TOKEN}")
    cookie = headers["set-cookie"]
    assert cookie.startswith(served.cookie)
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in page
    assert asked(served, "/api/about", cookie=served.cookie)[0] == 200


def test_the_name_of_another_host_is_turned_away(served: Served) -> None:
    for host in ("evil.example", f"evil.example:{served.port}", "127.0.0.1", "127.0.0.1:1"):
        assert asked(served, f"/?token={TOKEN}", host=host)[0] == 403, host
    host = f"localhost:{served.port}"
    assert asked(served, "/api/about", host=host, cookie=served.cookie)[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}"])
def test_another_origin_is_turned_away(served: Served, origin: str) -> None:
    origin = origin.format(port=served.port)
    assert asked(served, "/api/about", cookie=served.cookie, origin=origin)[0] == 403


def test_another_site_may_not_read_even_with_the_cookie(served: Served) -> None:
    for site in ("cross-site", "same-site"):
        refused = asked(
            served, "/api/rows", cookie=served.cookie, sec_fetch_site=site, sec_fetch_mode="no-cors"
        )
        assert refused[0] == 403


def test_a_change_needs_our_own_origin(served: Served) -> None:
    path = "/api/examples/nobody/overrule"
    post = {"method": "POST", "body": {"candidate_id": None}, "cookie": served.cookie}
    assert asked(served, path, **post)[0] == 403
    assert asked(served, path, **post, origin="http://evil.example")[0] == 403
    status, _, text = asked(served, path, **post, origin=served.origin)
    assert status == 400
    assert "no decision on an example" in text
    assert not served.run.overrides.exists()


def test_every_answer_forbids_scripts_frames_and_other_hosts(served: Served) -> None:
    for path in ("/", "/api/about", "/nowhere", "/assets/x/main.js"):
        policy = asked(served, path)[1]["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        headers = asked(served, path)[1]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


def test_the_page_names_no_other_host_and_has_no_inline_script(served: Served) -> None:
    page = asked(served, "/")[2]
    assert "http://" not in page
    assert "https://" not in page
    assert "<script>" not in page
    assert " on" not in page.replace(" only", "").replace(" one", "")
    assert "style=" not in page


def test_assets_are_those_of_the_package_and_nothing_else(served: Served) -> None:
    assert asked(served, "/assets/x/main.js")[0] == 200
    for name in ("page.html", "..%2fapp.py", "%2e%2e/app.py", "nothing.js"):
        assert asked(served, f"/assets/x/{name}")[0] == 404, name


def test_a_large_or_broken_body_is_refused(served: Served) -> None:
    path = "/api/examples/x/overrule"
    head = {"method": "POST", "cookie": served.cookie, "origin": served.origin}
    for body in ("x" * 70_000, ["a list"], {"candidate_id": 3}, {"note": 3}):
        assert asked(served, path, body=body, **head)[0] == 400
