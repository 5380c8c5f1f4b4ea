//! A sandbox for what strangers wrote: sources come in read-only, an artefact and an exit code go out, and nobody is called.

use std::fs;
use std::path::Path;

use crate::service::{Shop, Web};
use crate::shown::{Demo, Rkt, chapter};

/// The sources: a program that calls whom it is told to and tests itself, and what the job does with them.
const SOURCES: [(&str, &str); 4] = [
    (
        "roman.h",
        "/* Writes a number below 4000 in Roman numerals; returns the end of the text. */\n\
         char *roman(int number, char *text);\n",
    ),
    (
        "roman.c",
        r#"#include "roman.h"
#include <string.h>

char *roman(int number, char *text) {
    static const struct { int value; const char *numeral; } steps[] = {
        {1000, "M"}, {900, "CM"}, {500, "D"}, {400, "CD"}, {100, "C"}, {90, "XC"},
        {50, "L"}, {40, "XL"}, {10, "X"}, {9, "IX"}, {5, "V"}, {4, "IV"}, {1, "I"},
    };
    for (int step = 0; number > 0;)
        if (number >= steps[step].value) {
            number -= steps[step].value;
            text = stpcpy(text, steps[step].numeral);
        } else
            step++;
    *text = 0;
    return text;
}
"#,
    ),
    (
        "main.c",
        r#"#include "roman.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Calls home, as strangers do. */
static int call(const char *address) {
    struct sockaddr_in home = {.sin_family = AF_INET, .sin_port = htons(80)};
    inet_pton(AF_INET, address, &home.sin_addr);
    int failed = connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&home, sizeof home);
    printf("test: call %s: %s\n", address, failed ? strerror(errno) : "reached");
    return !failed;
}

int main(int count, char **words) {
    static const struct { int number; const char *expected; } cases[] = {
        {4, "IV"}, {9, "IX"}, {39, "XXXIX"}, {1990, "MCMXC"}, {2026, "MMXXVI"}, {3999, "MMMCMXCIX"},
    };
    int failed = 0;
    for (int i = 1; i < count; i++)
        if (call(words[i]))
            return 98;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        roman(cases[i].number, text);
        if (strcmp(text, cases[i].expected) != 0) {
            printf("test: %d is %s, not %s\n", cases[i].number, cases[i].expected, text);
            failed++;
        }
    }
    printf("test: %d failed\n", failed);
    return failed;
}
"#,
    ),
    (
        "job.sh",
        "touch forbidden 2>/dev/null && echo 'job: the sources can be changed' && exit 99\n\
         set -e\n\
         gcc -O1 -Wall -Werror -o /output/roman roman.c main.c\n\
         /output/roman \"$@\"\n",
    ),
];

/// Returns the pods' UUIDs.
pub fn play(demo: &mut Demo, rkt: &Rkt, shop: &Shop, web: &Web) -> Vec<String> {
    let source = demo.path("source");
    fs::create_dir(&source).expect("a directory");
    for (name, text) in SOURCES {
        fs::write(source.join(name), text).expect("writing a source");
    }

    chapter("A sandbox: gcc builds and tests a stranger's sources, and can call nobody");
    let image = shop.reference("gcc");
    let passed = job(demo, rkt, &image, web, "passed", 0, "test: 0 failed");
    let artefact = demo.path("passed/roman");
    let bytes = fs::read(&artefact).expect("the artefact");
    assert!(bytes.starts_with(b"\x7fELF"), "the artefact is no program");
    demo.shell("look at the artefact", "ls -l passed", 0, &["roman"]);

    chapter("The same with a mistake in it: the test's exit code is that of rkt run");
    demo.shell("make a mistake", "sed -i 's/{9, \"IX\"}/{9, \"VIIII\"}/' source/roman.c", 0, &[]);
    let failed = job(demo, rkt, &image, web, "failed", 3, "test: 9 is IX, not VIIII");
    vec![passed, failed]
}

/// Runs the job with an output directory of this name; returns the pod's UUID.
fn job(demo: &mut Demo, rkt: &Rkt, image: &str, web: &Web, name: &str, code: i32, said: &str) -> String {
    fs::create_dir(demo.path(name)).expect("a directory");
    let absolute = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let volume = |volume: &str, path: &Path, more: &str| {
        format!("--volume={volume},kind=host,source={}{more}", absolute(path))
    };
    let source = volume("source", &demo.path("source"), ",readOnly=true");
    let output = volume("output", &demo.path(name), "");
    let pod = format!("{name}.uuid");
    let save = format!("--uuid-file-save={pod}");
    let run = [
        "run",
        "--insecure-options=image,http",
        "--egress=deny",
        &save,
        &source,
        "--mount=volume=source,target=/source",
        &output,
        "--mount=volume=output,target=/output",
        image,
        "--working-dir=/source",
        "--exec=/bin/sh",
        "--",
        "job.sh",
        &web.address,
    ];
    let refused = format!("test: call {}: Connection refused", web.address);
    let step = format!("build and test ({name})");
    demo.command(&step, &mut rkt.command(&run), code, &[&refused, said]);
    demo.read(&pod)
}
