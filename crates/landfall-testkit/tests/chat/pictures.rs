//! Photos of a kind that nothing here draws, and that a host may.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::{io, path::Path, sync::Arc};

use landfall::{
    Error,
    recipes::chat::{Content, MediaKind, NewFile, Part, PictureDecoder, Stage},
};
use landfall_crypto::xmtp::AttachmentOpener;
use landfall_images::fixture::Jpeg;
use landfall_testkit::SimDisk;

use crate::world::{Device, Made, Scripted, World, file};

/// How a picture of a phone begins.
const HEIC: [u8; 24] = *b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";

/// A platform that draws what its camera made: here the picture lies behind the beginning.
struct Platform(Arc<SimDisk>);

impl PictureDecoder for Platform {
    fn draws(&self, kind: MediaKind) -> bool {
        kind == MediaKind::Heic
    }

    fn to_jpeg(&self, picture: &Path, _: u32) -> io::Result<Vec<u8>> {
        let jpeg = self.0.read(picture).unwrap()[HEIC.len()..].to_vec();
        if jpeg.is_empty() { Err(io::Error::other("there is no picture in it")) } else { Ok(jpeg) }
    }
}

fn camera(world: &World, picture: &[u8]) -> NewFile {
    let path = Path::new("/photos/a.heic");
    world.disk.put(path, &[&HEIC[..], picture].concat()).unwrap();
    NewFile { mime: "image/heic".to_owned(), ..file(path) }
}

async fn device(world: &World) -> (Device, Arc<Scripted>) {
    let publisher = Arc::<Scripted>::default();
    let decoder = Arc::new(Platform(Arc::clone(&world.disk)));
    let made =
        Made { is_platform: true, publisher: Some(publisher.clone()), decoder: Some(decoder), ..Made::default() };
    (world.device(made).await, publisher)
}

#[tokio::test(start_paused = true)]
async fn a_photo_that_the_host_draws_goes_upright_and_without_what_the_camera_noted() {
    let world = World::new().await;
    let (device, publisher) = device(&world).await;
    let jpeg = Jpeg::new(640, 480).orientation(6).gps(27.59, 86.56).camera("Canary Optics", "One").bytes();
    device.send(vec![Part::New(camera(&world, &jpeg))]).await;
    device.run().await;
    let transfer = device.chat.take_transfers(1).await.unwrap().remove(0);
    let mut payload = world.disk.read(Path::new("/home").join(&transfer.file)).unwrap();
    assert_eq!(device.put(&transfer, payload.clone()).await, 200);
    device.chat.transfer_answered(&transfer.attempt, 200, &[], &[]).await.unwrap();
    device.run().await;
    let content = publisher.asked.lock().unwrap()[0].content.clone();
    let Content::RemoteAttachment(remote) = Content::decode_on_loopback(&content).unwrap() else { panic!() };
    assert_eq!(remote.filename(), Some("a.jpg"));
    let mut opener = AttachmentOpener::new(remote.secrets(), *remote.digest(), 1 << 20);
    let photo = opener.update(&mut payload).unwrap().for_staging().to_vec();
    opener.finish().unwrap();
    assert!(photo.starts_with(&[0xff, 0xd8]) && !photo.windows(6).any(|bytes| bytes == b"Canary"));
    let mut reader = io::Cursor::new(&photo);
    let limits = landfall_images::ThumbnailLimits { edge: 640, ..landfall_images::ThumbnailLimits::default() };
    let upright = landfall_images::Orientation::default();
    let drawn = landfall_images::thumbnail(&mut reader, photo.len() as u64, MediaKind::Jpeg, upright, &limits).unwrap();
    assert_eq!((drawn.width, drawn.height), (640, 480));
}

#[tokio::test(start_paused = true)]
async fn a_photo_that_the_host_cannot_draw_after_all_needs_a_person() {
    let world = World::new().await;
    let (device, _) = device(&world).await;
    device.send(vec![Part::New(camera(&world, b""))]).await;
    device.run().await;
    let Stage::Failed { message, .. } = device.stages().await.remove(0) else { panic!() };
    assert!(message.contains("no picture in it"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_photo_that_nobody_draws_is_refused_and_another_treatment_named() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    let refused = device.chat.stage(camera(&world, b""), None).await;
    assert!(matches!(&refused, Err(Error::Invalid(why)) if why.contains("as the file that it is")), "{refused:?}");
}
