"""`destination test`: with the right settings it is content and leaves nothing; each wrong one it names, with a remedy."""

import socket

from bucket_world import BucketWorld, read
from landfall import MIB

#: How long a trial may take.
WITHIN = 10.0


def right(server):
    """With the right settings a destination passes its test, and the bucket is as before"""
    world = BucketWorld(server, "right")
    for what in ("the first time", "once more"):
        outcome = world.run("destination", "test", "media")
        said = outcome.json
        world.equal((outcome.code, said["ok"]), (0, True), f"right, {what}: all is well")
        verdicts = {check["name"]: check["verdict"] for check in said["checks"]}
        warned = {name for name, verdict in verdicts.items() if verdict == "warn"}
        lacks = set() if server.traits.checks_checksums else {"checksums"}
        guards = {server.traits.put_if_none_match, server.traits.complete_if_none_match} == {412}
        lacks |= set() if guards else {"overwrite"}
        world.equal((set(verdicts.values()) - {"warn"}, warned), ({"ok"}, lacks), f"right, {what}: it warns of what is lacking")
        remedies = [check["remedy"] for check in said["checks"] if check["verdict"] == "warn"]
        world.check(all(remedies), f"right, {what}: with remedies", remedies)
        world.check_holds({}, f"right, {what}")


def wrong(server):
    """With wrong settings a destination fails its test, which names the cause and a remedy"""
    world = BucketWorld(server, "wrong")
    reader = {"access_key": server.reader.access_key, "secret": server.reader.secret_key}
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = nobody.getsockname()[1]
        for what, settings, exit_code, code, check, names in [
            ("access key", {"access_key": type(server).new_keys()[0]}, 4, "bad-credentials", "bucket", "access key"),
            ("secret", {"secret": type(server).new_keys()[1]}, 4, "bad-credentials", "bucket", "secret"),
            ("bucket", {"bucket": "there-is-none"}, 8, "no-such-bucket", "bucket", "bucket"),
            ("rights", reader, 4, "access-denied", "write", "may not"),
            ("port", {"endpoint": f"http://127.0.0.1:{closed}"}, 5, "offline", "bucket", "refused"),
            ("host", {"endpoint": "http://nobody.invalid"}, 5, "offline", "bucket", "dns"),
        ]:
            name = world.add("wrong", "--replace", **settings)
            outcome = world.run("destination", "test", name)
            failed = [one for one in outcome.json["checks"] if one["verdict"] == "fail"]
            found = [(one["name"], one["code"]) for one in failed]
            world.equal((outcome.code, outcome.json["ok"], found), (exit_code, False, [(check, code)]), f"wrong {what}: {code}")
            world.check(failed and names in failed[0]["message"].lower(), f"wrong {what}: the message names it", failed)
            world.check(failed and failed[0]["remedy"], f"wrong {what}: a remedy is said", failed)
            world.check(outcome.took < WITHIN, f"wrong {what}: within seconds", f"{outcome.took:.1f} s")
            people = world.run("destination", "test", name, json=False)
            world.check(people.code == exit_code and b"fail" in people.out and b"hint: " in people.out,
                        f"wrong {what}: people are told as well", people.out)
        world.check_holds({}, "wrong settings")


def clocks(server):
    """A clock that is hours off, or a wrong region, is made up for, and said"""
    world = BucketWorld(server, "clocks")
    path = world.file(11 * MIB)
    objects = {}
    for key, skew in (("ahead", "+2h"), ("behind", "-2h")):
        wrap, env = ("faketime", "-f", skew), {"FAKETIME_DONT_FAKE_MONOTONIC": 1}
        outcome = world.run("destination", "test", "media", wrap=wrap, env=env)
        verdict = next(one for one in outcome.json["checks"] if one["name"] == "clock")
        world.equal((outcome.code, outcome.took < WITHIN), (0, True), f"clocks: {skew} is lived with")
        # Garage looks at the day alone.
        if server.name != "garage":
            world.equal(verdict["verdict"], "warn", f"clocks: {skew} is warned of")
            names = "clock" in verdict["message"] and "clock" in verdict.get("remedy", "")
            world.check(names, f"clocks: {skew} is named", verdict)
        world.put(path, "--key", key, wrap=wrap, env=env).expect(0)
        objects[key] = read(path)
    world.check_holds(objects, "clocks")
    world.put(path, "--key", "right again").expect(0)
    name = world.add("region", region="eu-nowhere-7")
    outcome = world.run("destination", "test", name)
    verdict = next(one for one in outcome.json["checks"] if one["name"] == "region")
    if server.name == "garage":
        world.equal((outcome.code, verdict["verdict"]), (0, "warn"), "region: a wrong one is corrected, and warned of")
        names = "`garage`" in verdict["message"] and "--region garage" in verdict["remedy"]
        world.check(names, "region: the right one is named", verdict)
    else:
        world.equal((outcome.code, verdict["verdict"]), (0, "ok"), "region: this server takes any")
    world.put(path, "--key", "region", to=name).expect(0)
