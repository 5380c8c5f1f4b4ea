use uuid::Uuid;

use super::users::{Numbers, user_of};

const HOST: &str = "         0          0 4294967295\n";

/// Lines of a map.
fn extents(map: &str) -> Vec<[u64; 3]> {
    let line = |line: &str| -> [u64; 3] {
        let numbers: Vec<u64> = line.split_ascii_whitespace().map(|word| word.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    };
    map.lines().map(line).collect()
}

#[test]
fn users_and_processes_of_pods_are_nobody_else_of_the_host() {
    let pods = [0, 1, 2, 0x7ff, 0x800, u128::MAX].map(Uuid::from_u128);

    for pod in pods {
        let Numbers::OfThePod(first) = Numbers::of(pod) else { panic!("those of the host") };
        let user = user_of(pod);
        assert!((0x7000_0000..=0x77ff_0000).contains(&first) && first.is_multiple_of(0x1_0000), "{first:x}");
        assert!((0x7800_0000..0x7ffe_0000).contains(&user), "{user:x}");
    }
    assert_ne!(Numbers::of(pods[0]), Numbers::of(pods[1]));
    assert_ne!(user_of(pods[0]), user_of(pods[4]));
}

#[test]
fn low_numbers_are_the_pods_and_high_ones_the_hosts() {
    let numbers = Numbers::of(Uuid::from_u128(3));

    let on_host = [0, 65_535, 65_536, 1_400_000, 0x6fff_ffff, 0x8000_0000, u32::MAX - 1];
    let on_host = on_host.map(|number| numbers.on_host(number).unwrap());

    let own = 0x7003_0000;
    assert_eq!(on_host, [own, own + 65_535, 65_536, 1_400_000, 0x6fff_ffff, 0x8000_0000, u32::MAX - 1]);
    for nobody in [0x7000_0000, 0x7003_0000, 0x7fff_ffff, u32::MAX] {
        assert_eq!(numbers.on_host(nobody), None, "{nobody:x}");
    }
}

#[test]
fn map_says_what_the_numbers_are() {
    let numbers = Numbers::of(Uuid::from_u128(3));
    let extents = extents(&numbers.map(HOST));

    for number in
        [0, 65_535, 65_536, 0x6fff_ffff, 0x7000_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX]
    {
        let mapped = extents.iter().find_map(|[inside, outside, count]| {
            let offset = u64::from(number).checked_sub(*inside).filter(|offset| offset < count)?;
            Some(outside + offset)
        });
        assert_eq!(mapped, numbers.on_host(number).map(u64::from), "{number:x}");
    }
    assert!(extents.iter().skip(1).all(|[inside, outside, _]| inside == outside));
}

#[test]
fn everybody_keeps_the_number_that_he_has_outside_where_the_hosts_numbers_are_used() {
    let of_a_container = "         0     100000      65536\n     70000          5          1\n";

    assert_eq!(Numbers::OfTheHost.map(HOST), "0 0 4294967295\n");
    assert_eq!(Numbers::OfTheHost.map(of_a_container), "0 0 65536\n70000 70000 1\n");
    assert_eq!(Numbers::OfTheHost.map(""), "");
    assert_eq!(Numbers::OfTheHost.on_host(7), Some(7));
}
